"""The floor of ``pod_start``: two ``crun run`` at once, each on its overlay mount.  Runs in its own mount namespace.

crun_floor.py WORK RUNS  ->  {"walls": […], "cpu": …} on standard output
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def rootfs(work: Path) -> Path:
    """A root file system with nothing but a static-enough ``sleep``: the host's own directories, read only."""
    lower = work / "lower"
    for name in ("bin", "lib", "lib64", "usr", "proc", "dev", "sys", "tmp", "etc"):
        (lower / name).mkdir(parents=True, exist_ok=True)
    return lower


def spec(root: Path) -> dict[str, object]:
    binds = [
        {
            "destination": f"/{name}",
            "type": "bind",
            "source": os.path.realpath(f"/{name}"),
            "options": ["rbind", "ro"],
        }
        for name in ("bin", "lib", "lib64", "usr")
        if os.path.exists(f"/{name}")
    ]
    return {
        "ociVersion": "1.0.0",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["sleep", "infinity"],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
        },
        "root": {"path": str(root)},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, *binds],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]},
    }


def run_once(work: Path, index: int) -> float:
    lower = rootfs(work)
    bundles = []
    for part in ("a", "b"):
        bundle = work / f"{index}{part}"
        for name in ("upper", "work", "root"):
            (bundle / name).mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps(spec(bundle / "root")))
        bundles.append(bundle)
    begin = time.perf_counter()
    children = []
    for bundle in bundles:
        options = f"lowerdir={lower},upperdir={bundle}/upper,workdir={bundle}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{bundle}/root"], check=True)
        children.append(
            subprocess.Popen(
                [
                    "crun",
                    "--root",
                    str(work / "state"),
                    "run",
                    "--detach",
                    "--bundle",
                    str(bundle),
                    f"floor-{bundle.name}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        )
    for child in children:
        if child.wait():
            raise RuntimeError("crun run failed")
    elapsed = time.perf_counter() - begin
    for bundle in bundles:
        subprocess.run(["crun", "--root", str(work / "state"), "delete", "-f", f"floor-{bundle.name}"], check=True)
        subprocess.run(["umount", "-l", f"{bundle}/root"], check=True)
    return elapsed


def machine_cpu_s() -> float:
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(fields[i]) for i in (0, 1, 2, 5, 6)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    work, runs = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=False, stderr=subprocess.DEVNULL)
    walls, cpu = [], 0.0
    for index in range(runs + 2):
        before = machine_cpu_s()
        wall = run_once(work, index)
        if index >= 2:
            walls.append(wall)
            cpu += machine_cpu_s() - before
    json.dump({"walls": walls, "cpu": cpu / runs}, sys.stdout)


main()

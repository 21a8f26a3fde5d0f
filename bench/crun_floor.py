"""The floor of ``pod_start``: two ``crun run`` at once, each on its overlay mount.  Runs in its own mount namespace.

``crun_floor.py WORK [LOAD]``: for each line on standard input one run, whose seconds it prints.  LOAD is a file with
what both containers carry: ``{"files": {volume: {name: text}}, "in_memory": […], "linux": {…}}``.  Its seccomp profile is
compiled in the first run, and given to crun as the filter from then on.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from podhost.linux import mount


def rootfs(work: Path) -> Path:
    """A root file system with nothing but a static-enough ``sleep``: the host's own directories, read only."""
    lower = work / "lower"
    for name in ("bin", "lib", "lib64", "usr", "proc", "dev", "sys", "tmp", "etc"):
        (lower / name).mkdir(parents=True, exist_ok=True)
    return lower


def spec(root: Path, cgroup: str, volumes: dict[str, Path], linux: dict[str, Any]) -> dict[str, object]:
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
    binds += [
        {"destination": f"/mnt/{name}", "type": "bind", "source": str(path), "options": ["rbind", "rprivate", "rw"]}
        for name, path in volumes.items()
    ]
    document: dict[str, Any] = {
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
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")], **linux},
    }
    if linux:
        document["linux"]["cgroupsPath"] = cgroup
    return document


def make_volumes(directory: Path, load: dict[str, Any]) -> dict[str, Path]:
    """Directories with their files; those in memory each on a tmpfs."""
    made = {}
    for name, files in load.get("files", {}).items():
        made[name] = directory / name
        made[name].mkdir(parents=True)
        if name in load["in_memory"]:
            mount.mount_tmpfs(made[name], size_bytes=None)
        for file, text in files.items():
            (made[name] / file).write_text(text)
    return made


def keep_filter(compiled: Path, load: dict[str, Any]) -> None:
    """A floor does not compile what can be had: crun takes its own filter back."""
    if "seccomp" in load.get("linux", {}) and compiled.exists():
        load["filter"] = base64.b64encode(compiled.read_bytes()).decode()
        del load["linux"]["seccomp"]


def run_once(work: Path, index: int, load: dict[str, Any]) -> float:
    lower = rootfs(work)
    bundles = []
    for part in ("a", "b"):
        bundle = work / f"{index}{part}"
        for name in ("upper", "work", "root"):
            (bundle / name).mkdir(parents=True)
        bundles.append(bundle)
    begin = time.perf_counter()
    volumes = make_volumes(work / f"{index}volumes", load)
    children = []
    for bundle in bundles:
        document = spec(bundle / "root", f"/{bundle.name}-{os.getpid()}", volumes, load.get("linux", {}))
        if "filter" in load:
            document["annotations"] = {"run.oci.seccomp_bpf_data": load["filter"]}
        (bundle / "config.json").write_text(json.dumps(document))
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
        keep_filter(work / "state" / f"floor-{bundle.name}" / "seccomp.bpf", load)
        subprocess.run(["crun", "--root", str(work / "state"), "delete", "-f", f"floor-{bundle.name}"], check=True)
        subprocess.run(["umount", "-l", f"{bundle}/root"], check=True)
    for path in volumes.values():
        mount.unmount(path)
    return elapsed


def main() -> None:
    work = Path(sys.argv[1])
    load = json.loads(Path(sys.argv[2]).read_text()) if len(sys.argv) > 2 else {}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=False, stderr=subprocess.DEVNULL)
    for index, _line in enumerate(sys.stdin):
        print(run_once(work, index, load), flush=True)


main()

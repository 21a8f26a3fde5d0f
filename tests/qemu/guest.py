"""What the checks in the guest are made of: commands, pods, cgroups, and the list of all checks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXAMPLES = HERE / "examples"
UNIT = Path("/etc/systemd/system/podhost.service")
CGROUPS = Path("/sys/fs/cgroup")
PODS = CGROUPS / "podhost" / "default"
CLASSES = {"Guaranteed": "", "Burstable": "burstable", "BestEffort": "besteffort"}
"""Where their pods are below ``PODS``."""
SLOW = 180
"""Seconds for one step: the guest's processor is emulated."""


@dataclass(frozen=True)
class Check:
    name: str
    run: Callable[[], None]
    v2_only: bool
    essential: bool
    """The others make no sense without it; it runs whatever words were given."""
    quick: bool = False
    """One of the few that run with every run of ``scripts/test``."""


CHECKS: list[Check] = []


def check(
    *, v2_only: bool = False, essential: bool = False, quick: bool = False
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a check; its name is what it promises."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        CHECKS.append(Check(function.__name__.replace("_", " "), function, v2_only, essential, quick))
        return function

    return register


# --- tools -----------------------------------------------------------------------------------------------------------


def run(*argv: str, ok: bool = True, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of a command; its failure is an AssertionError with all that it said."""
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=SLOW, check=False, env={**os.environ, **(env or {})}
    )
    assert not ok or done.returncode == 0, f"{' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def podhost(*argv: str, **options: Any) -> str:
    return run("podhost", *argv, **options)


def kubectl(*argv: str, **options: Any) -> str:
    return run("kubectl", *argv, **options)


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = SLOW) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.3)
    return value


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", "pod", name, "-o", "json"))
    return found


def container_status(name: str, index: int = 0) -> dict[str, Any]:
    status: dict[str, Any] = pod(name)["status"]["containerStatuses"][index]
    return status


def container_cgroup(name: str, index: int = 0) -> Path:
    """Of a version 2 guest."""
    found = pod(name)
    identity: str = found["status"]["containerStatuses"][index]["containerID"].removeprefix("podhost://")
    return PODS / CLASSES[found["status"]["qosClass"]] / f"pod{found['metadata']['uid']}" / identity


def build_pod(name: str, script: str, *, resources: dict[str, Any] | None = None, **spec: Any) -> str:
    container = {"name": "main", "image": "debian", "command": ["bash", "-c", script], "resources": resources or {}}
    container |= spec.pop("container", {})
    more = spec.pop("more", [])
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, **spec, "containers": [container, *more]},
    }
    return json.dumps(manifest)


@contextlib.contextmanager
def running_pod(name: str, script: str, *, until: str = "condition=Ready", **spec: Any) -> Iterator[None]:
    kubectl("apply", "-f", "-", stdin=build_pod(name, script, **spec))
    try:
        kubectl("wait", f"--for={until}", f"pod/{name}", f"--timeout={SLOW - 20}s")
        yield
    except AssertionError as error:
        raise AssertionError(f"{error}\n{kubectl('describe', 'pod', name, ok=False)}") from error
    finally:
        kubectl("delete", "pod", name, "--timeout=60s", ok=False)


def container_pids() -> dict[str, int]:
    """Main process of each running container, by its name in its pod, asked of the kernel."""
    found = {}
    for item in json.loads(kubectl("get", "pods", "-o", "json"))["items"]:
        for status in item["status"].get("containerStatuses", []):
            identity = status.get("containerID", "").removeprefix("podhost://")
            if "running" in status["state"]:
                found[f"{item['metadata']['name']}/{status['name']}"] = main_process(identity)
    return found


def main_process(container_id: str) -> int:
    members = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"/{container_id}" in (entry / "cgroup").read_text():
                    members[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    mains = [pid for pid, parent in members.items() if parent not in members]
    assert mains, f"no process in the cgroup of container {container_id}"
    return min(mains)


def unit(prop: str) -> str:
    return run("systemctl", "show", "podhost", "-p", prop, "--value").strip()


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as response:
        text: str = response.read().decode()
    return text


def fetch_when_it_answers(url: str) -> str:
    def attempt() -> str:
        try:
            return fetch(url)
        except OSError:
            return ""

    return str(wait_until(attempt, f"an answer from {url}"))


def residue() -> list[str]:
    """What a podhost has left on this machine, besides its data directory."""
    left = [str(path) for root in (CGROUPS,) for path in root.rglob("podhost") if path.is_dir()]
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "podhost" in line]
    left += [line for line in run("nft", "list", "tables").splitlines() if "podhost" in line]
    left += [name for name in os.listdir("/sys/class/net") if name not in ("lo", "eth0") and not name.startswith("en")]
    left += [line for line in run("ip", "route").splitlines() if "eth0" not in line and " en" not in line]
    left += [str(path) for path in Path("/run/podhost").glob("*") if path.name != "_network"]
    left += [
        line
        for line in run("ps", "-eo", "pid,args").splitlines()
        if re.search(r"\b(conmon|catatonit|crun|runc) ", line) and "checks.py" not in line
    ]
    return left


def read_values(group: Path, *names: str) -> list[str]:
    return [(group / name).read_text().strip() for name in names]


def read_available_mib() -> int:
    """As the kubelet counts: page cache that is in use is not available."""
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}
    cache = sizes["Cached"] + sizes["Buffers"] - sizes["Inactive(file)"]
    return (sizes["MemTotal"] - sizes["AnonPages"] - cache) >> 10

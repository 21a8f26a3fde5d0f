"""Counts what an instance has left on the machine: the residue must be empty after ``down`` and ``stop``."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

from harness.daemon import Daemon
from podhost.network.bridge_link import is_foreign


@dataclass(frozen=True)
class Residue:
    """Everything of one instance that is not in its data directory."""

    mounts: tuple[str, ...] = ()
    mount_namespaces: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def minus(self, before: Residue) -> Residue:
        """What was not there before."""
        return Residue(
            **{
                f.name: tuple(x for x in getattr(self, f.name) if x not in getattr(before, f.name))
                for f in fields(self)
            }
        )

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self))


def observe_residue(daemon: Daemon) -> Residue:
    """Look at the machine for traces of this daemon's instance."""
    marks = (str(daemon.root), f"/podhost/{daemon.instance}")
    return Residue(
        mounts=tuple(sorted(_mounts(marks))),
        mount_namespaces=tuple(sorted(_foreign_mount_namespaces(marks))),
        cgroups=tuple(sorted(_cgroups(daemon.instance))),
        links=tuple(sorted(_links(_bridge(daemon)))),
        routes=tuple(sorted(_routes(_bridge(daemon)))),
        tables=tuple(sorted(_tables(daemon.instance))),
        processes=tuple(sorted(_processes(marks))),
        files=tuple(sorted(_files(daemon))),
    )


def _mounts(marks: tuple[str, ...]) -> list[str]:
    return [
        line.split()[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if any(mark in line for mark in marks)
    ]


def _foreign_mount_namespaces(marks: tuple[str, ...]) -> set[str]:
    """Mount namespaces of other processes that still see mounts of the instance."""
    own = os.readlink("/proc/self/ns/mnt")
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            namespace = os.readlink(entry / "ns/mnt")
            if namespace == own or namespace in found:
                continue
            text = (entry / "mountinfo").read_text()
        except OSError:
            continue
        found[namespace] = any(mark in text for mark in marks)
    return {namespace for namespace, marked in found.items() if marked}


def _cgroups(instance: str) -> list[str]:
    # os.walk, as it passes over groups of others that go away meanwhile.
    found = (os.path.join(directory, instance) for directory, _, _ in os.walk("/sys/fs/cgroup"))
    return [path for path in found if path.endswith(f"/podhost/{instance}") and os.path.isdir(path)]


def _bridge(daemon: Daemon) -> str:
    """The instance's bridge; other instances of the machine are none of this one's residue.

    One of them may have taken the name since this one has given it up.
    """
    data_dir = daemon.data_root / daemon.instance
    plan = data_dir / "network.json"
    bridge = str(json.loads(plan.read_text())["bridge"]) if plan.exists() else "no bridge chosen yet"
    return "bridge of another instance" if is_foreign(bridge, data_dir) else bridge


def _links(bridge: str) -> list[str]:
    return [name for name in os.listdir("/sys/class/net") if name == bridge or name.startswith(f"{bridge}-")]


def _routes(bridge: str) -> list[str]:
    out = subprocess.run(["ip", "-j", "route"], capture_output=True, text=True, check=True).stdout
    routes = [route for route in json.loads(out or "[]") if f"{route.get('dev', '')}-".startswith(f"{bridge}-")]
    return [json.dumps(route, sort_keys=True) for route in routes]


def _tables(instance: str) -> list[str]:
    out = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return [line for line in out.splitlines() if instance in line]


def _processes(marks: tuple[str, ...]) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            groups = (entry / "cgroup").read_text()
        except OSError:
            continue
        if marks[1] in groups or (marks[0] in command and "pytest" not in command):
            found.append(f"{entry.name} {command[:200]}")
    return found


def _files(daemon: Daemon) -> list[str]:
    """Files of pods: run directory, and pods, containers and logs below the data directory."""
    data = daemon.data_root / daemon.instance
    roots = [
        daemon.run_root / daemon.instance,
        *(data / name for name in ("pods", "containers", "sandboxes", "logs")),
    ]
    return [str(path) for root in roots if root.exists() for path in root.iterdir()]

"""The pod of ``pod_start`` that carries what a careful user gives it: five volumes, limits and a seccomp profile.

The profile is Docker's default in a file of this run (``Localhost``), so that no container has it ready.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.daemon import Daemon
from podhost.linux import cgroup
from podhost.runtime.capabilities import compute_capabilities
from podhost.runtime.host_facts import read_host_facts
from podhost.runtime.seccomp import resolve_default_profile

SECCOMP_ROOT = Path("/var/lib/kubelet/seccomp")
CONFIG = {"app.conf": "workers = 4\n" * 40, "log.conf": "level = info\n"}
SECRET = {"user": "app", "password": "x" * 32}
LIMITS = {"cpu": "500m", "memory": "128Mi"}
VOLUMES: list[dict[str, Any]] = [
    {"name": "data", "emptyDir": {}},
    {"name": "config", "configMap": {"name": "laden"}},
    {"name": "secret", "secret": {"secretName": "laden"}},
    {
        "name": "all",
        "projected": {
            "sources": [
                {"configMap": {"name": "laden"}},
                {"secret": {"name": "laden"}},
                {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            ]
        },
    },
    {
        "name": "pod",
        "downwardAPI": {
            "items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "cpu", "resourceFieldRef": {"containerName": "a", "resource": "limits.cpu"}},
            ]
        },
    },
]


def build_profile() -> dict[str, Any]:
    """Docker's default profile for the default capabilities."""
    host = read_host_facts(1, frozenset(), cgroup.detect().root)
    capabilities = compute_capabilities((), (), privileged=False, available=host.capabilities)
    return resolve_default_profile(capabilities, host.architecture, host.kernel)


@contextmanager
def seccomp_file() -> Iterator[str]:
    """The profile where the kubelet looks for it; yields its ``localhostProfile``."""
    SECCOMP_ROOT.mkdir(parents=True, exist_ok=True)
    name = f"podhost-bench-{os.getpid()}.json"
    (SECCOMP_ROOT / name).write_text(json.dumps(build_profile()))
    try:
        yield name
    finally:
        (SECCOMP_ROOT / name).unlink()
        with suppress(OSError):
            SECCOMP_ROOT.rmdir()


def create_objects(daemon: Daemon) -> None:
    """What the volumes show."""
    meta = {"name": "laden"}
    path = "/api/v1/namespaces/default"
    daemon.request("POST", f"{path}/configmaps", {"metadata": meta, "data": CONFIG})
    daemon.request("POST", f"{path}/secrets", {"metadata": meta, "stringData": SECRET})


def load(pod: dict[str, Any], profile: str) -> dict[str, Any]:
    """The same pod with volumes in every container, limits and the profile."""
    spec = pod["spec"]
    mounts = [{"name": each["name"], "mountPath": f"/mnt/{each['name']}"} for each in VOLUMES]
    containers = [{**each, "resources": {"limits": LIMITS}, "volumeMounts": mounts} for each in spec["containers"]]
    security = {"seccompProfile": {"type": "Localhost", "localhostProfile": profile}}
    metadata = {**pod["metadata"], "labels": {"app": "laden"}}
    return {
        **pod,
        "metadata": metadata,
        "spec": {**spec, "securityContext": security, "containers": containers, "volumes": VOLUMES},
    }

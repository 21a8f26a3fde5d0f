"""Specs against those that containerd makes of the same containers (``scripts/record_containerd.py``).

Every field of the two is compared; what differs on purpose is in ``DELIBERATE``, with its reason, and nothing else.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podhost.cri.ids import ImageId
from podhost.cri.images import ImageConfig
from podhost.cri.runtime import ContainerConfig, LinuxResources, Mount, SecurityConfig
from podhost.runtime.capabilities import ALL_CAPABILITIES, compute_capabilities
from podhost.runtime.host_facts import HostFacts
from podhost.runtime.oci_spec import SandboxView, SpecInput, build_container_spec
from podhost.runtime.users import ResolvedUser

RECORDED = Path(__file__).parent / "recorded"
SHAPES: dict[str, dict[str, Any]] = json.loads((RECORDED / "shapes.json").read_text())

# By field, or "shape: field"; with stars.
DELIBERATE = {
    "ociVersion": "the version of the text, not of a library that wrote it",
    "process.env.HOME": "containerd leaves it to runc, which looks it up; crun does not for every user",
    "mounts./dev/mqueue.*": "the pod's mount, so that a user namespace's containers see one and the same",
    "mounts./dev/shm.options": "containerd has these flags on the tmpfs that is bound, where they bind as well",
    "host-network: linux.namespaces.*": "the runtime is in the host's namespaces; containerd names them by path",
    "host-ipc: linux.namespaces.ipc": "as for the network",
    "host-pid: linux.namespaces.pid": "as for the network",
}


def read_recorded(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())["spec"]
    return spec


HOST = HostFacts(
    capabilities=frozenset(ALL_CAPABILITIES),
    architecture="amd64",
    kernel=(6, 1),
    oom_score_adj=0,
    cgroup_version=1,
    controllers=frozenset({"cpu", "memory", "pids"}),
    can_limit_swap=True,
)
# What containerd itself had where it was recorded.
AVAILABLE = frozenset(read_recorded("privileged")["process"]["capabilities"]["bounding"])
_FILES = Path("/podhost")


def build_view(pod: dict[str, Any]) -> SandboxView:
    """As ``container_create`` has it: what a pod has of its own is at a path."""
    view = SandboxView(
        network_path=None if pod.get("host_network") else _FILES / "net",
        ipc_path=None if pod.get("host_ipc") else _FILES / "ipc",
        uts_path=None if pod.get("host_network") else _FILES / "uts",
        pid_path=_FILES / "pid" if pod.get("share_process_namespace") else None,
        host_pid=pod.get("host_pid", False),
        hostname="host" if pod.get("host_network") else "pod",
        hosts=_FILES / "hosts",
        hostname_file=_FILES / "hostname",
        resolv_conf=_FILES / "resolv.conf",
        shm=Path("/dev/shm") if pod.get("host_ipc") else _FILES / "shm",
    )
    return view if pod.get("host_ipc") else replace(view, mqueue=_FILES / "mqueue")


def build_spec(shape: dict[str, Any]) -> dict[str, Any]:
    """podhost's spec of a shape."""
    security = SecurityConfig(**shape.get("security", {}))
    config = ContainerConfig(
        name="c",
        attempt=0,
        image_id=ImageId("sha256:1"),
        image_ref="i",
        log_path=Path("/log"),
        security=security,
        resources=LinuxResources(**({"oom_score_adj": 0} | shape.get("resources", {}))),
        mounts=tuple(Mount(**{**each, "host_path": Path(each["host_path"])}) for each in shape.get("mounts", ())),
        tty=shape.get("tty", False),
        working_dir=shape.get("working_dir", ""),
        env=tuple(map(tuple, shape.get("env", ()))),
    )
    uid, gid = security.run_as_user or 0, security.run_as_group or 0
    capabilities = compute_capabilities(
        security.capabilities_add,
        security.capabilities_drop,
        privileged=security.privileged,
        available=AVAILABLE,
    )
    given = SpecInput(
        config=config,
        image=ImageConfig(entrypoint=("/pause", "-P")),
        user=ResolvedUser(uid, gid, (gid, *security.supplemental_groups), "/root"),
        rootfs=_FILES / "rootfs",
        cgroup_path="PATH",
        sandbox=build_view(shape.get("pod", {})),
        host=HOST,
        capabilities=capabilities,
        seccomp=None
        if security.privileged or security.seccomp_profile == "Unconfined"
        else {"defaultAction": "SCMP_ACT_ERRNO"},
        host_devices=({"path": "/dev/null"},) if security.privileged else (),
    )
    document: dict[str, Any] = json.loads(json.dumps(build_container_spec(given)))
    return document


def flatten(spec: dict[str, Any]) -> dict[str, Any]:
    """Field by field, lists without an order as sets, what is absent as what it means."""
    process, linux = spec["process"], spec["linux"]
    flat: dict[str, Any] = {"ociVersion": spec["ociVersion"], "root.readonly": spec["root"].get("readonly", False)}
    for name in ("args", "cwd", "oomScoreAdj", "rlimits", "apparmorProfile", "selinuxLabel"):
        flat[f"process.{name}"] = process.get(name) or None
    flat["process.terminal"] = process.get("terminal", False)
    flat["process.noNewPrivileges"] = process.get("noNewPrivileges", False)
    flat["process.user"] = {**process["user"], "additionalGids": set(process["user"].get("additionalGids", ()))}
    flat |= {f"process.env.{item.partition('=')[0]}": item.partition("=")[2] for item in process["env"]}
    for kind in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        flat[f"process.capabilities.{kind}"] = set(process["capabilities"].get(kind) or ())
    for name in ("maskedPaths", "readonlyPaths"):
        flat[f"linux.{name}"] = set(linux.get(name) or ())
    flat["linux.seccomp"] = bool(linux.get("seccomp"))
    flat["linux.devices"] = bool(linux.get("devices"))
    flat["linux.rootfsPropagation"] = linux.get("rootfsPropagation")
    for kind, values in linux["resources"].items():
        if isinstance(values, dict):
            flat |= {f"linux.resources.{kind}.{name}": value for name, value in values.items()}
        else:
            flat[f"linux.resources.{kind}"] = values
    for namespace in linux["namespaces"]:
        flat[f"linux.namespaces.{namespace['type']}"] = "of the pod" if namespace.get("path") else "new"
    for mount in spec["mounts"]:
        at = f"mounts.{mount['destination']}"
        flat |= {f"{at}.type": mount["type"], f"{at}.options": set(mount["options"])}
        flat[f"{at}.source"] = "of the pod" if mount["source"].startswith(("PATH", "/podhost/")) else mount["source"]
    return flat


def find_differences(name: str) -> Iterator[str]:
    """``shape: field: podhost's value, not containerd's``."""
    ours, theirs = flatten(build_spec(SHAPES[name])), flatten(read_recorded(name))
    for field in sorted({*ours, *theirs}):
        if ours.get(field) != theirs.get(field):
            yield f"{name}: {field}: {ours.get(field)}, not {theirs.get(field)}"


def matches(difference: str, pattern: str) -> bool:
    shape, field, _ = difference.split(": ", 2)
    return fnmatch.fnmatch(field, pattern) or fnmatch.fnmatch(f"{shape}: {field}", pattern)


@pytest.mark.parametrize("name", SHAPES)
def test_a_container_is_what_containerd_makes_of_it_but_for_what_is_named(name: str) -> None:
    found = [each for each in find_differences(name) if not any(matches(each, pattern) for pattern in DELIBERATE)]
    assert found == []


def test_every_deliberate_difference_is_there() -> None:
    found = [each for name in SHAPES for each in find_differences(name)]
    unused = [pattern for pattern in DELIBERATE if not any(matches(each, pattern) for each in found)]
    assert unused == []

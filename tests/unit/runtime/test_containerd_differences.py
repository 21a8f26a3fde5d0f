"""Specs against those that containerd makes of the same containers (``scripts/record_containerd.py``).

The recordings are containerd 1.6's; what containerd 2 has in its source by default is in ``containerd-2.json``.  Every field of the two is compared; what differs on purpose is in ``DELIBERATE``, with its reason, and nothing else.
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
from podhost.runtime.capabilities import ALL_CAPABILITIES, DEFAULT_CAPABILITIES, compute_capabilities
from podhost.runtime.host_facts import HostFacts
from podhost.runtime.oci_spec import SandboxView, SpecInput, build_container_spec
from podhost.runtime.seccomp import resolve_default_profile
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
    "host-everything: linux.namespaces.*": "as for each of them",
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


def build_spec(shape: dict[str, Any], host: HostFacts = HOST) -> dict[str, Any]:
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
        host=host,
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


CONTAINERD_2: dict[str, Any] = json.loads((RECORDED / "containerd-2.json").read_text())


def test_masks_mounts_and_devices_are_containerd_2s() -> None:
    spec = build_spec({})
    linux = spec["linux"]
    assert set(linux["maskedPaths"]) == {*CONTAINERD_2["masked"], "/proc/interrupts"}
    assert set(linux["readonlyPaths"]) == set(CONTAINERD_2["read_only"])
    assert linux["resources"]["devices"] == CONTAINERD_2["devices"]
    mounts = {each["destination"]: each for each in spec["mounts"]}
    for place, (kind, *options) in CONTAINERD_2["mounts"].items():
        if place != "/dev/mqueue":  # the pod's, as above
            assert (mounts[place]["type"], set(mounts[place]["options"])) == (kind, set(options)), place
    assert set(spec["process"]["capabilities"]["bounding"]) == set(CONTAINERD_2["capabilities"])


def _allowed(capabilities: set[str], architecture: str, kernel: tuple[int, int] = (6, 1)) -> set[str]:
    profile = resolve_default_profile(capabilities, architecture, kernel)
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("capability", ["CAP_CHOWN", *sorted(set(ALL_CAPABILITIES) - set(DEFAULT_CAPABILITIES))])
def test_system_calls_that_the_profile_allows_are_containerd_2s(architecture: str, capability: str) -> None:
    calls, capabilities = CONTAINERD_2["system_calls"], {*CONTAINERD_2["capabilities"], capability}
    theirs = {*calls["always"], *calls["by_arguments"], *calls["by_architecture"][architecture], *calls["since_4_8"]}
    theirs |= {name for each in capabilities for name in calls["by_capability"].get(each, ())}
    assert _allowed(capabilities, architecture) == theirs
    older = theirs - set(calls["since_4_8"]) | {
        name for each in capabilities for name in calls["by_capability"].get(each, ())
    }
    assert _allowed(capabilities, architecture, (4, 4)) == older


@pytest.mark.parametrize("name", ["socket", "personality", "clone"])
def test_arguments_that_the_profile_looks_at_are_containerd_2s(name: str) -> None:
    profile = resolve_default_profile(DEFAULT_CAPABILITIES, "amd64", (6, 1))
    rules = [rule for rule in profile["syscalls"] if name in rule["names"] and rule["action"] == "SCMP_ACT_ALLOW"]
    found = [[rule["args"][0]["op"], rule["args"][0]["value"]] for rule in rules]
    assert found == CONTAINERD_2["system_calls"]["by_arguments"][name]


V2 = replace(HOST, cgroup_version=2)


@pytest.mark.parametrize(
    ("security", "namespaces", "shown"),
    [
        ({}, ["cgroup"], ("cgroup", "cgroup", {"ro"})),
        ({"privileged": True}, [], ("bind", "/sys/fs/cgroup", {"rbind", "rprivate", "rw"})),
    ],
)
def test_on_version_2_cgroups_are_shown_as_containerd_2_does(
    security: dict[str, Any], namespaces: list[str], shown: tuple[str, str, set[str]]
) -> None:
    """Of its own namespace, read-only; a privileged container has the host's, whose mount options stay.

    containerd repeats those options in the mount; crun would not hand them on.
    """
    spec = build_spec({"security": security}, V2)
    assert [each["type"] for each in spec["linux"]["namespaces"] if each["type"] == "cgroup"] == namespaces
    (mount,) = [each for each in spec["mounts"] if each["destination"] == "/sys/fs/cgroup"]
    kind, source, options = shown
    assert (mount["type"], mount["source"]) == (kind, source)
    assert set(mount["options"]) == {"nosuid", "noexec", "nodev", "relatime"} | options
    memory = build_spec({"resources": {"memory_limit_bytes": 1 << 20}}, V2)["linux"]["resources"]
    assert memory["unified"]["memory.oom.group"] == "1"


def test_paths_that_tell_of_the_processors_heat_are_masked() -> None:
    path = "/sys/devices/system/cpu/cpu0/thermal_throttle"
    assert path in build_spec({}, replace(HOST, thermal_paths=(path,)))["linux"]["maskedPaths"]

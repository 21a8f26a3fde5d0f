"""OCI specs from what is known about a container."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podhost.cri.ids import ImageId
from podhost.cri.images import ImageConfig
from podhost.cri.runtime import ContainerConfig, ContainerStartError, LinuxResources, Mount, MountOrigin, SecurityConfig
from podhost.runtime.host_facts import HostFacts
from podhost.runtime.oci_spec import (
    MASKED_PATHS,
    SandboxView,
    SpecInput,
    build_container_spec,
    build_resources,
    compute_args,
    compute_environment,
    compute_oom_score_adj,
    find_propagation_obstacle,
)
from podhost.runtime.users import ResolvedUser

HOST = HostFacts(
    capabilities=frozenset({"CAP_CHOWN", "CAP_SYS_ADMIN"}),
    architecture="amd64",
    kernel=(6, 1),
    oom_score_adj=0,
    cgroup_version=2,
    controllers=frozenset({"cpu", "memory", "pids"}),
    can_limit_swap=True,
)
CONFIG = ContainerConfig(
    name="c", attempt=0, image_id=ImageId("sha256:1"), image_ref="i", log_path=Path("/log/0.log"), command=("run",)
)
VIEW = SandboxView(
    network_path=Path("/ns/net"),
    ipc_path=Path("/ns/ipc"),
    uts_path=Path("/ns/uts"),
    hostname="pod",
    hosts=Path("/s/hosts"),
    hostname_file=Path("/s/hostname"),
    resolv_conf=Path("/s/resolv.conf"),
    shm=Path("/s/shm"),
    mqueue=Path("/s/mqueue"),
)
GIVEN = SpecInput(
    config=CONFIG,
    image=ImageConfig(),
    user=ResolvedUser(0, 0, (0,), "/root"),
    rootfs=Path("/b/rootfs"),
    cgroup_path="/podhost/default/pod1/c1",
    sandbox=VIEW,
    host=HOST,
    capabilities=("CAP_CHOWN",),
)


def build(view: SandboxView = VIEW, **changes: Any) -> dict[str, Any]:
    return build_container_spec(replace(GIVEN, config=replace(CONFIG, **changes), sandbox=view))


def mount_at(spec: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = next(mount for mount in spec["mounts"] if mount["destination"] == path)
    return found


IMAGE = ImageConfig(entrypoint=("e",), cmd=("c",))


@pytest.mark.parametrize(
    ("image", "command", "args", "wanted"),
    [
        (IMAGE, (), (), ("e", "c")),
        (IMAGE, ("x",), (), ("x",)),
        (IMAGE, (), ("y",), ("e", "y")),
        (IMAGE, ("x",), ("y",), ("x", "y")),
        (ImageConfig(cmd=("c",)), (), (), ("c",)),
        (ImageConfig(), (), ("y",), ("y",)),
    ],
)
def test_command_follows_kubernetes_table(
    image: ImageConfig, command: tuple[str, ...], args: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    assert compute_args(replace(CONFIG, command=command, args=args), image) == wanted


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(ContainerStartError, match="no command specified"):
        compute_args(replace(CONFIG, command=()), ImageConfig())


@pytest.mark.parametrize("changes", [{"command": ("sh", "a\0b")}, {"env": (("A", "x\0y"),)}])
def test_strings_that_no_process_can_be_given_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ContainerStartError, match="nul byte in the"):
        build(**changes)


def test_variables_of_the_pod_replace_those_of_the_image() -> None:
    image = ImageConfig(env=("PATH=/bin", "A=image", "B=b"))
    env = compute_environment(replace(CONFIG, env=(("A", "pod"), ("C", "c=d"))), image, hostname="h", home="/srv")
    assert env == ["PATH=/bin", "HOSTNAME=h", "A=pod", "B=b", "C=c=d", "HOME=/srv"]


def test_default_spec_is_confined() -> None:
    spec = build()
    assert tuple(spec["linux"]["maskedPaths"]) == MASKED_PATHS
    assert spec["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert "ro" in mount_at(spec, "/sys")["options"]
    assert "ro" in mount_at(spec, "/sys/fs/cgroup")["options"]
    assert mount_at(spec, "/dev/mqueue")["source"] == "/s/mqueue"
    assert mount_at(spec, "/dev/shm")["source"] == "/s/shm"
    kinds = {namespace["type"]: namespace.get("path") for namespace in spec["linux"]["namespaces"]}
    assert kinds == {
        "mount": None,
        "pid": None,
        "cgroup": None,
        "network": "/ns/net",
        "ipc": "/ns/ipc",
        "uts": "/ns/uts",
    }
    assert spec["annotations"] == {}


def test_privileged_spec_is_open() -> None:
    spec = build(security=SecurityConfig(privileged=True))
    assert "maskedPaths" not in spec["linux"]
    assert "readonlyPaths" not in spec["linux"]
    assert spec["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "rw" in mount_at(spec, "/sys")["options"]


def test_host_namespaces_are_left_out() -> None:
    view = replace(VIEW, network_path=None, ipc_path=None, uts_path=None, host_pid=True, mqueue=None)
    spec = build(view)
    assert {namespace["type"] for namespace in spec["linux"]["namespaces"]} == {"mount", "cgroup"}
    assert mount_at(spec, "/dev/mqueue")["type"] == "mqueue"


def test_without_cgroups_no_mount_leads_to_a_device() -> None:
    mounts = (Mount(container_path="/v", host_path=Path("/vol")),)
    host = replace(HOST, cgroup_version=0, controllers=frozenset(), limits_devices=False)
    given = replace(GIVEN, host=host, config=replace(CONFIG, mounts=mounts))
    spec = build_container_spec(given)
    assert [m for m in spec["mounts"] if m["destination"] == "/sys/fs/cgroup"] == []
    assert "nodev" in mount_at(spec, "/v")["options"]
    assert "nodev" not in mount_at(spec, "/dev")["options"]
    privileged = replace(given.config, security=SecurityConfig(privileged=True))
    assert "nodev" not in mount_at(build_container_spec(replace(given, config=privileged)), "/v")["options"]


def test_own_mounts_replace_defaults_and_are_ordered_by_depth() -> None:
    mounts = (
        Mount(container_path="/data/deep/er", host_path=Path("/h/1")),
        Mount(container_path="/data/", host_path=Path("/h/2"), read_only=True, recursive_read_only=True),
        Mount(container_path="/dev/shm", host_path=Path("/h/3"), propagation="rshared"),
        Mount(container_path="/etc/hosts", host_path=Path("/h/4"), propagation="rslave"),
    )
    spec = build(mounts=mounts)
    destinations = [mount["destination"] for mount in spec["mounts"]]
    assert len(destinations) == len(set(destinations))
    assert [path for path in destinations if path in ("/data", "/dev/shm", "/etc/hosts", "/data/deep/er")] == [
        "/data", "/dev/shm", "/etc/hosts", "/data/deep/er"
    ]  # fmt: skip
    depths = [path.count("/") for path in destinations]
    assert depths == sorted(depths), "a mount hides one below it"
    assert mount_at(spec, "/data")["options"] == ["rbind", "rprivate", "ro", "rro"]
    assert mount_at(spec, "/etc/hosts")["source"] == "/h/4"
    assert spec["linux"]["rootfsPropagation"] == "rshared"


def test_a_volume_at_dev_has_all_of_it_but_for_the_pods_shared_memory() -> None:
    spec = build(mounts=(Mount(container_path="/dev/", host_path=Path("/dev")),))
    found = [each["destination"] for each in spec["mounts"] if each["destination"].startswith("/dev")]
    assert found == ["/dev", "/dev/shm"]


@pytest.mark.parametrize(
    ("propagation", "is_shared", "is_slave", "text"),
    [
        ("private", False, False, None),
        ("rslave", True, False, None),
        ("rslave", False, True, None),
        ("rslave", False, False, 'path "/h/1" is mounted on "/h" but it is not a shared or slave mount'),
        ("rshared", True, False, None),
        ("rshared", False, True, 'path "/h/1" is mounted on "/h" but it is not a shared mount'),
    ],
)
def test_what_cannot_propagate_on_the_host_is_refused(
    propagation: Any, is_shared: bool, is_slave: bool, text: str | None
) -> None:
    origin = MountOrigin(path=Path("/h/1"), mount_point=Path("/h"), is_shared=is_shared, is_slave=is_slave)
    asked = Mount(container_path="/x", host_path=Path("/pods/1"), propagation=propagation, origin=origin)
    of_the_pod = Mount(container_path="/y", host_path=Path("/pods/2"), propagation="rshared")
    assert find_propagation_obstacle([of_the_pod, asked]) == text


def test_resources_are_converted() -> None:
    resources = LinuxResources(
        cpu_shares=512, cpu_quota_us=50_000, cpu_period_us=100_000, memory_limit_bytes=1 << 20, pids_limit=7
    )
    built = build_resources(resources, HOST, privileged=False)
    assert built["cpu"] == {"shares": 512, "quota": 50_000, "period": 100_000}
    assert built["memory"] == {"limit": 1 << 20, "swap": 1 << 20}
    assert built["pids"] == {"limit": 7}
    assert "swap" not in build_resources(resources, replace(HOST, can_limit_swap=False), privileged=False)["memory"]


@pytest.mark.parametrize(
    ("controllers", "sizes", "limits"),
    [
        ({"hugetlb"}, (2 << 20, 1 << 30), [{"pageSize": "2MB", "limit": 4 << 20}, {"pageSize": "1GB", "limit": 0}]),
        ({"hugetlb"}, (), None),
        ({"memory"}, (2 << 20,), None),
    ],
)
def test_a_container_gets_the_huge_pages_that_it_asks_for_and_no_others(
    controllers: set[str], sizes: tuple[int, ...], limits: list[dict[str, Any]] | None
) -> None:
    host = replace(HOST, controllers=frozenset(controllers), huge_page_sizes=sizes)
    built = build_resources(LinuxResources(huge_page_limits=((2 << 20, 4 << 20),)), host, privileged=False)
    assert built.get("hugepageLimits") == limits


def test_limits_without_their_controller_are_left_out() -> None:
    resources = LinuxResources(cpu_shares=512, memory_limit_bytes=1 << 20, pids_limit=7)
    built = build_resources(resources, replace(HOST, controllers=frozenset({"pids"})), privileged=False)
    assert set(built) == {"devices", "pids"}


@pytest.mark.parametrize(
    ("changes", "unified"),
    [
        ({}, {"memory.oom.group": "1", "memory.swap.max": "0", "cpu.weight": "59"}),
        ({"can_limit_swap": False}, {"memory.oom.group": "1", "cpu.weight": "59"}),
        ({"controllers": frozenset({"memory"})}, {"memory.oom.group": "1", "memory.swap.max": "0"}),
        ({"controllers": frozenset({"cpu"})}, {"cpu.weight": "59"}),
        ({"controllers": frozenset()}, None),
        ({"cgroup_version": 1}, None),
    ],
)
def test_a_container_dies_whole_does_not_swap_and_has_its_weight_where_the_kernel_can(
    changes: dict[str, Any], unified: dict[str, str] | None
) -> None:
    built = build_resources(LinuxResources(cpu_shares=512), replace(HOST, **changes), privileged=False)
    assert built.get("unified") == unified


@pytest.mark.parametrize(
    ("wanted", "own", "capable", "result"),
    [(None, 0, True, None), (1000, 0, False, 1000), (-997, 0, False, None), (-997, 0, True, -997), (2, 5, False, None)],
)
def test_oom_score_is_left_out_where_the_kernel_would_refuse(
    wanted: int | None, own: int, capable: bool, result: int | None
) -> None:
    host = replace(HOST, oom_score_adj=own, capabilities=frozenset({"CAP_SYS_RESOURCE"} if capable else ()))
    assert compute_oom_score_adj(LinuxResources(oom_score_adj=wanted), host) == result


def test_a_user_namespace_is_joined_with_its_ids_and_proc_can_be_without_masks() -> None:
    spec = build(replace(VIEW, user_path=Path("/ns/user"), first_host_id=131072))
    mapping = [{"containerID": 0, "hostID": 131072, "size": 65536}]
    assert {"type": "user", "path": "/ns/user"} in spec["linux"]["namespaces"]
    assert (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) == (mapping, mapping)
    assert "uidMappings" not in build()["linux"]
    open_spec = build(security=SecurityConfig(unmasked_proc=True))
    assert {"maskedPaths", "readonlyPaths"} & set(open_spec["linux"]) == set()

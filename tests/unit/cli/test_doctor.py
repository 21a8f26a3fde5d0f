"""Checks of machines that are written down as files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from podhost.cli import doctor_checks as checks
from podhost.cli.doctor import format_check
from podhost.kubelet.eviction_thresholds import DEFAULT_EVICTION_HARD, parse_pairs


def make_machine(
    root: Path, files: dict[str, str] | None = None, programs: tuple[str, ...] = (), **values: object
) -> checks.Machine:
    for name, text in (files or {}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return checks.Machine(
        root=root,
        which=lambda name: f"/usr/bin/{name}" if name in programs else None,
        version_of=lambda path: "1.2.3",
        **values,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("distribution", "command"),
    [
        ("debian", "sudo apt-get install -y nftables"),
        ("ubuntu", "sudo apt-get install -y nftables"),
        ("fedora", "sudo dnf install -y nftables"),
        ("arch", "sudo pacman -S --noconfirm nftables"),
        ("unheard-of", "sudo apt-get install -y nftables"),
    ],
)
def test_missing_program_comes_with_the_distributions_command(tmp_path: Path, distribution: str, command: str) -> None:
    check = checks.check_program("nft", "Services")(make_machine(tmp_path, distribution=distribution))
    assert (check.level, check.mend) == ("fail", command)


@pytest.mark.parametrize(
    ("files", "level"),
    [
        ({"proc/filesystems": "nodev\toverlay\n"}, "ok"),
        ({"lib/modules/6.1.0/modules.dep": "kernel/fs/overlayfs/overlay.ko:\n"}, "ok"),
        ({"lib/modules/6.1.0/modules.dep": "kernel/fs/ext4/ext4.ko:\n"}, "fail"),
        ({}, "fail"),
    ],
)
def test_overlayfs_may_be_a_module_that_is_not_loaded_yet(tmp_path: Path, files: dict[str, str], level: str) -> None:
    machine = make_machine(tmp_path, {"proc/sys/kernel/osrelease": "6.1.0\n", **files})
    assert checks.check_overlayfs(machine).level == level


@pytest.mark.parametrize(
    ("programs", "level"), [(("crun", "runc"), "ok"), (("crun",), "ok"), (("runc",), "warn"), ((), "fail")]
)
def test_runtime_is_crun_then_runc(tmp_path: Path, programs: tuple[str, ...], level: str) -> None:
    assert checks.check_runtime(make_machine(tmp_path, programs=programs)).level == level


V2 = {"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids"}
MOUNT = "30 24 0:26 /"
V1_TABLE = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t2\t1\t{}\npids\t3\t1\t1\n"
V1 = {f"sys/fs/cgroup/{name}/tasks": "" for name in ("cpu", "memory", "pids")}


@pytest.mark.parametrize(
    ("files", "level", "detail"),
    [
        (V2, "ok", "version 2"),
        ({"sys/fs/cgroup/cgroup.controllers": "cpu pids"}, "warn", "version 2, without memory"),
        ({**V1, "proc/cgroups": V1_TABLE.format(1)}, "ok", "version 1"),
        ({**V1, "proc/cgroups": V1_TABLE.format(0)}, "warn", "version 1, without memory"),
        ({**V1, "proc/cgroups": V1_TABLE.format(1), "sys/fs/cgroup/unified/cgroup.controllers": ""}, "ok", "hybrid"),
        ({**V2, "proc/self/mountinfo": f"{MOUNT} /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"}, "warn",
         "version 2, read-only: /sys/fs/cgroup: containers run without limits"),
        ({**V2, "proc/self/mountinfo": f"{MOUNT} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n"}, "ok", "version 2"),
        ({**V2, "proc/self/mountinfo": f"{MOUNT} /elsewhere ro - cgroup2 cgroup rw\n"}, "ok", "version 2"),
        ({}, "warn", "not mounted: containers run without limits"),
    ],
)  # fmt: skip
def test_cgroup_layouts_are_told_apart(tmp_path: Path, files: dict[str, str], level: str, detail: str) -> None:
    check = checks.check_cgroups(make_machine(tmp_path, files))
    assert check.level == level
    assert check.detail.startswith(detail)


def test_what_to_do_about_missing_controllers_depends_on_whose_hierarchy_it_is(tmp_path: Path) -> None:
    own = {"sys/fs/cgroup/cgroup.controllers": "pids"}
    assert "kernel's command line" in str(checks.check_cgroups(make_machine(tmp_path / "machine", own)).mend)
    given = {**own, "sys/fs/cgroup/cgroup.type": "domain"}
    assert "delegate" in str(checks.check_cgroups(make_machine(tmp_path / "container", given)).mend)


@pytest.mark.parametrize(
    ("bounding", "level"), [("000001ffffffffff", "ok"), ("000001fffeffffff", "warn"), ("00000000a80425fb", "fail")]
)
def test_missing_capabilities_degrade_or_fail(tmp_path: Path, bounding: str, level: str) -> None:
    machine = make_machine(tmp_path, {"proc/self/status": f"Name:\tx\nCapBnd:\t{bounding}\n"})
    assert checks.check_capabilities(machine).level == level


@pytest.mark.parametrize(
    ("enabled", "programs", "level", "mend"),
    [
        ("Y\n", ("apparmor_parser",), "ok", ""),
        ("Y\n", (), "warn", "sudo apt-get install -y apparmor"),
        ("N\n", (), "ok", ""),
        ("", (), "ok", ""),
    ],
)
def test_a_kernel_with_apparmor_wants_its_parser(
    tmp_path: Path, enabled: str, programs: tuple[str, ...], level: str, mend: str
) -> None:
    files = {"sys/module/apparmor/parameters/enabled": enabled} if enabled else {}
    check = checks.check_apparmor(make_machine(tmp_path, files, programs))
    assert (check.level, check.mend) == (level, mend)


@pytest.mark.parametrize(("options", "level"), [("shared:1 ", "ok"), ("", "warn")])
def test_private_root_is_a_warning(tmp_path: Path, options: str, level: str) -> None:
    line = f"1 0 254:0 / / rw,relatime {options}- ext4 /dev/vda rw\n"
    assert checks.check_mount_propagation(make_machine(tmp_path, {"proc/1/mountinfo": line})).level == level


def test_port_in_use_is_a_warning_unless_it_is_our_own_daemon(tmp_path: Path) -> None:
    machine = make_machine(tmp_path, socket_path=tmp_path / "s")
    with socket.socket() as taken, socket.socket(socket.AF_UNIX) as own:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert checks.check_api_port(machine, port).level == "warn"
        other = make_machine(tmp_path, socket_path=tmp_path / "s", instance="two")
        free = checks.check_api_port(other, port)
        assert (free.level, free.mend) == ("ok", "")
        assert free.detail == "in use by another program; the instance two takes any free port"
        own.bind(str(tmp_path / "s"))
        own.listen()
        assert checks.check_api_port(machine, port).level == "ok"


def test_every_check_survives_an_empty_machine(tmp_path: Path) -> None:
    results = checks.run_checks(make_machine(tmp_path, euid=1000, data_root=tmp_path, socket_path=tmp_path / "s"))
    assert len(results) == len(checks.CHECKS)
    assert all(result.mend for result in results if result.level == "fail")


def test_distribution_is_read_from_os_release(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=neon\nID_LIKE="ubuntu debian"\n')
    assert checks.read_distribution(tmp_path) == "ubuntu"


def test_finding_is_one_line_and_its_mending_another() -> None:
    check = checks.Check(name="nft", level="fail", detail="not installed", mend="sudo apt-get install -y nftables")
    assert format_check(check, colour=False) == "✗ nft           not installed\n    → sudo apt-get install -y nftables"


@pytest.mark.parametrize(
    ("own", "upstream", "level", "words"),
    [
        ("nameserver 1.1.1.1", "", "ok", "pods use 1.1.1.1 of /etc/resolv.conf"),
        ("nameserver 127.0.0.53", "nameserver 9.9.9.9", "ok", "pods use 9.9.9.9 of /run/systemd/resolve/resolv.conf"),
        ("nameserver 127.0.0.1", "", "warn", "only 127.0.0.1, on the host's loopback: pods get no resolver"),
        ("search example", "nameserver 9.9.9.9", "warn", "none in /etc/resolv.conf: pods get no resolver"),
    ],
)
def test_resolvers_on_the_hosts_loopback_are_not_the_pods(
    tmp_path: Path, own: str, upstream: str, level: str, words: str
) -> None:
    files = {"etc/resolv.conf": own, "run/systemd/resolve/resolv.conf": upstream}
    check = checks.check_resolvers(make_machine(tmp_path, files))
    assert (check.level, check.detail) == (level, words)


@pytest.mark.parametrize(
    ("free_gib", "whole_gib", "inodes_free", "level", "word"),
    [
        (60, 100, 900, "ok", "60 GiB free"),
        (6, 100, 900, "ok", "6 GiB free"),
        (60, 100, 49, "warn", "only 49 of 1000 inodes free"),
        (3, 4, 900, "warn", "only 3.0 GiB free"),
        (0, 100, 900, "fail", "only 0.0 GiB free"),
    ],
)
def test_disk_below_the_thresholds_of_eviction_is_told(
    tmp_path: Path, free_gib: int, whole_gib: int, inodes_free: int, level: str, word: str
) -> None:
    gib = 1 << 18  # blocks of 4 KiB
    found = os.statvfs_result(
        (4096, 4096, whole_gib * gib, free_gib * gib, free_gib * gib, 1000, inodes_free, inodes_free, 0, 255)
    )
    check = checks.check_disk(make_machine(tmp_path, data_root=tmp_path, statvfs=lambda _: found))
    assert check.level == level
    assert word in check.detail


def test_doctor_knows_the_threshold_that_a_daemon_has_by_default() -> None:
    default = parse_pairs(DEFAULT_EVICTION_HARD, "<")
    assert default["nodefs.inodesFree"] == f"{checks.EVICTION_INODES_PERCENT}%"

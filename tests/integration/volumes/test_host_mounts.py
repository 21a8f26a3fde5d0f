"""hostPaths between two mount namespaces: the host's is that of the test, the daemon's is made for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podhost.cri.runtime import MountOrigin
from podhost.cri.volumes import MountedVolume, VolumeError
from podhost.linux import mount, namespaces
from podhost.volumes import pod_directory
from podhost.volumes.plan import HostPathPlan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@dataclass
class Machine:
    """A directory of the host, and a daemon's mount namespace that is its slave."""

    top: Path
    pin: Path
    host_fd: int

    @property
    def pod(self) -> Path:
        return self.top / "pods" / "uid"

    def in_daemon(self, fn: Any) -> Any:
        return namespaces.run_in_namespace(self.pin, "mnt", fn)

    def mount(self, path: Path, **fields: Any) -> MountedVolume:
        plan = HostPathPlan(name="v", path=str(path), **fields)
        host = Path(f"/proc/self/fd/{self.host_fd}")
        mounted: MountedVolume = self.in_daemon(lambda: pod_directory.apply_plan(self.pod, plan, host))
        return mounted

    def remove(self) -> None:
        self.in_daemon(lambda: pod_directory.remove_volumes(self.pod))

    def points(self) -> list[str]:
        """Mount points of the host below the directory."""
        found = [info.mount_point for info in mount.mounts()]
        return sorted(str(p.relative_to(self.top)) for p in found if p.is_relative_to(self.top))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "disk").mkdir()
    mount.mount_tmpfs(tmp_path / "disk", size_bytes=None)
    mount.make_private(tmp_path / "disk")
    processors = os.sched_getaffinity(0)
    host_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _pin_on_one_processor(tmp_path / "ns" / "mnt", sorted(processors))
        yield Machine(tmp_path, tmp_path / "ns" / "mnt", host_fd)
    finally:
        os.sched_setaffinity(0, processors)
        os.close(host_fd)
        mount.unmount_tree(tmp_path)


def _pin_on_one_processor(pin: Path, processors: list[int]) -> None:
    """Stays on the first whose namespaces are younger than the test's own.

    Each processor has a batch of namespace ids at hand (Linux 6.18): only on one of them younger means greater.  The
    test's own may come from any, as other tests have moved the process into a new one.
    """
    for number in processors:
        os.sched_setaffinity(0, {number})
        try:
            namespaces.create_pinned_mount_namespace(pin)
            return
        except OSError as error:
            if error.errno != errno.EINVAL or number == processors[-1]:
                raise


def test_mounts_go_both_ways_where_the_hosts_mount_is_shared(machine: Machine) -> None:
    mount.make_shared(machine.top / "disk")
    data = machine.top / "disk" / "data"
    for name in ("inner", "outer"):
        (data / name).mkdir(parents=True)
    mounted = machine.mount(data, propagates=True)
    assert mounted.origin == MountOrigin(path=data, mount_point=machine.top / "disk", is_shared=True, is_slave=False)
    # Once more, as for a container's restart, and after the daemon was killed.
    assert machine.mount(data, propagates=True) == mounted
    machine.in_daemon(lambda: mount.mount_tmpfs(mounted.host_path / "inner", size_bytes=None))
    mount.mount_tmpfs(data / "outer", size_bytes=None)
    (data / "outer" / "file").touch()
    assert machine.in_daemon(lambda: os.listdir(mounted.host_path / "outer")) == ["file"]
    made = ["disk", "disk/data/inner", "disk/data/outer", "ns", "ns/mnt"]
    assert machine.points() == made, "nothing of the daemon's is on the host"
    machine.remove()
    assert machine.points() == made, "what the pod's user mounted is the host's"
    assert not machine.pod.exists()


def test_a_place_whose_mount_is_private_says_where_it_lies(machine: Machine) -> None:
    (machine.top / "link").symlink_to("disk")
    mounted = machine.mount(machine.top / "link", propagates=True)
    disk = machine.top / "disk"
    assert mounted.origin == MountOrigin(path=disk, mount_point=disk, is_shared=False, is_slave=False)
    machine.remove()


def test_what_the_host_mounted_later_is_there_though_its_mounts_are_private(machine: Machine) -> None:
    late = machine.top / "disk" / "late"
    late.mkdir()
    mount.mount_tmpfs(late, size_bytes=None)
    (late / "dir").mkdir()
    os.mknod(late / "null", 0o20666, os.makedev(1, 3))
    mounted = machine.mount(late / "dir", type="Directory")
    assert machine.in_daemon(mounted.host_path.is_dir)
    assert not machine.in_daemon((late / "dir").exists)
    machine.remove()
    device = machine.mount(late / "null", type="CharDevice").host_path
    assert machine.in_daemon(lambda: device.write_text("x")) == 1
    with pytest.raises(VolumeError, match="null is not a socket file, it's a CharDevice"):
        machine.mount(late / "null", type="Socket")
    machine.remove()
    assert not machine.pod.exists()


def test_a_host_path_above_older_namespaces_that_are_pinned_leaves_them_out(machine: Machine) -> None:
    """The kernel mounts none in a younger one, lest it comes to hold itself; others pin where it can be bound."""
    mount.make_private(machine.pin.parent)
    mount.make_shared(machine.top / "disk")
    younger = Machine(machine.top, machine.top / "younger" / "mnt", machine.host_fd)
    namespaces.create_pinned_mount_namespace(younger.pin)
    mounted = younger.mount(machine.top, propagates=True)
    assert not younger.in_daemon(lambda: mount.is_mount_point(mounted.host_path / "ns" / "mnt"))
    (machine.top / "disk" / "in").mkdir()
    younger.in_daemon(lambda: mount.mount_tmpfs(mounted.host_path / "disk" / "in", size_bytes=None))
    assert "disk/in" in machine.points(), "the mounts of the copy are peers of the host's all the same"
    younger.remove()
    assert "disk/in" in machine.points()


def test_a_host_path_above_the_pinned_namespaces_does_not_hold_them(machine: Machine) -> None:
    mounted = machine.mount(machine.top)
    assert machine.in_daemon(lambda: mount.is_mount_point(mounted.host_path / "disk"))
    assert not machine.in_daemon(lambda: mount.is_mount_point(mounted.host_path / "ns" / "mnt"))
    machine.remove()

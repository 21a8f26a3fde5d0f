"""Processes without a cgroup, on the real kernel, as root."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.linux import mount, spawn, strays
from podhost.linux.usage import read_process_use

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The machine's programs under a root of their own."""
    for name in ("root", "upper", "work", "lower/proc"):
        (tmp_path / name).mkdir(parents=True)
    root = tmp_path / "root"
    mount.mount_overlay(root, [tmp_path / "lower"], tmp_path / "upper", tmp_path / "work")
    for name in ("bin", "dev", "lib", "lib64", "usr", "tmp"):
        (root / name).mkdir()
        if name != "tmp":
            mount.bind_mount(Path("/", name).resolve(), root / name, read_only=True)
    yield root
    mount.unmount_tree(root)


async def start(*argv: str) -> spawn.Process:
    """A command that says a word when it is ready."""
    process = await spawn.start(list(argv), stdout=spawn.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def test_those_with_a_root_are_found_and_killed_wherever_they_have_gone(root: Path) -> None:
    script = "setsid sleep 100 & (setsid sleep 101 &); chroot /usr /bin/sleep 102 & sleep 0.1; echo ready; wait"
    process = await start("unshare", "--mount", "chroot", str(root), "/bin/sh", "-c", script)
    found = await asyncio.to_thread(strays.find_rooted, root)
    commands = {Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1] for pid in found}
    assert {b"100", b"101", b"102"} <= commands
    assert process.pid in found
    assert os.getpid() not in found
    assert await asyncio.to_thread(strays.find_all_rooted, [root, root.parent]) == {root: found, root.parent: set()}
    use = await asyncio.to_thread(read_process_use, found)
    assert use.memory is not None
    assert use.memory.usage_bytes > use.memory.rss_bytes > 0
    assert use.cpu_ns is not None
    assert use.pids == len(found)
    await asyncio.to_thread(strays.kill_rooted, root)
    assert await process.wait() < 0
    assert await asyncio.to_thread(strays.find_rooted, root) == set()
    await asyncio.to_thread(strays.kill_rooted, root)


async def test_one_that_forks_all_the_time_does_not_get_away(root: Path) -> None:
    script = "echo ready; while :; do setsid sleep 5 & done"
    process = await start("chroot", str(root), "/bin/sh", "-c", script)
    await asyncio.to_thread(strays.kill_rooted, root)
    assert await process.wait() < 0
    assert await asyncio.to_thread(strays.find_rooted, root) == set()


async def test_what_is_no_overlay_has_no_processes(tmp_path: Path) -> None:
    """Most of all not those of this machine, whose root may be the same file system."""
    assert strays.find_rooted(tmp_path) == set()
    assert strays.find_rooted(Path("/")) <= {0} or mount.find_mount(Path("/")).fstype == "overlay"
    assert strays.find_rooted(tmp_path / "absent") == set()
    strays.kill_rooted(tmp_path)


async def test_descendants_are_killed_and_their_relatives_are_not() -> None:
    other = await start("sh", "-c", "echo ready; exec sleep 100")
    process = await start("sh", "-c", "setsid sh -c 'sleep 100 & echo ready; wait' & wait")
    assert other.pid not in strays.find_descendants(process.pid)
    family = strays.find_descendants(process.pid)
    assert len(family) == 3
    await asyncio.to_thread(strays.kill_descendants, process.pid)
    assert await process.wait() < 0
    assert not [pid for pid in family if Path(f"/proc/{pid}/cwd").exists()]
    assert strays.find_descendants(other.pid) >= {other.pid}
    other.kill()
    assert await other.wait() < 0

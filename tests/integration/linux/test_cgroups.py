"""Control groups on the real kernel, as root."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator

import pytest

from podhost.linux import cgroup, spawn

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="control groups need root")


@pytest.fixture
def path() -> Iterator[str]:
    top = f"/podhost-test-{uuid.uuid4().hex[:8]}"
    yield f"{top}/pod/container"
    cgroup.kill(top)
    cgroup.remove(top)
    assert not any(directory.exists() for directory in cgroup.detect().directories(top))


def parent_of(path: str) -> str:
    return path.rpartition("/")[0]


async def test_processes_are_found_from_above_and_killed_with_their_children(path: str) -> None:
    cgroup.create(path)
    cgroup.create(path)
    assert cgroup.pids(path) == set()
    process = await spawn.start(["sh", "-c", "read x; sleep 100 & sleep 100 & wait"], stdin=spawn.PIPE)
    cgroup.attach(path, process.pid)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    assert process.pid in cgroup.pids(parent_of(path))
    with pytest.raises(OSError, match="busy"):
        cgroup.remove(path)
    cgroup.kill(parent_of(path))
    assert await process.wait() == -signal.SIGKILL
    process.stdin.close()
    assert cgroup.pids(path) == set()
    cgroup.remove(parent_of(path))
    cgroup.remove(parent_of(path))


async def test_fork_bomb_is_killed(path: str) -> None:
    cgroup.create(path)
    assert cgroup.ensure_pod_parent(path, cgroup.CgroupLimits(pids_limit=60)) == []
    bomb = "read x; f() { while :; do (f) 2>/dev/null & sleep 0.05; done; }; f"
    process = await spawn.start(["sh", "-c", bomb], stdin=spawn.PIPE)
    cgroup.attach(path, process.pid)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.close()
    cgroup.kill(path)
    assert await process.wait() == -signal.SIGKILL
    assert cgroup.pids(path) == set()


def test_absent_groups_are_no_error() -> None:
    absent = f"/podhost-test-absent-{uuid.uuid4().hex}"
    cgroup.kill(absent)
    cgroup.remove(absent)
    assert cgroup.pids(absent) == set()
    assert cgroup.oom_kill_count(absent) == 0


def test_limits_are_written_or_reported(path: str) -> None:
    problems = cgroup.ensure_pod_parent(
        parent_of(path),
        cgroup.CgroupLimits(cpu_shares=512, cpu_quota_us=50_000, memory_limit_bytes=64 << 20, pids_limit=100),
    )
    layout = cgroup.detect()
    assert problems == []
    memory = layout.directory("memory", parent_of(path))
    assert memory is not None
    name = "memory.max" if layout.version == 2 else "memory.limit_in_bytes"
    assert int((memory / name).read_text()) == 64 << 20
    problems = cgroup.ensure_pod_parent(parent_of(path), cgroup.CgroupLimits(cpu_quota_us=1))
    assert len(problems) == 1
    assert "cannot set" in problems[0]


async def test_process_killed_for_want_of_memory_is_counted(path: str) -> None:
    cgroup.create(path)
    assert cgroup.oom_kill_count(path) == 0
    assert cgroup.ensure_pod_parent(path, cgroup.CgroupLimits(memory_limit_bytes=16 << 20)) == []
    process = await spawn.start(["/usr/bin/env", "python3", "-c", "input(); x = bytearray(64 << 20)"], stdin=spawn.PIPE)
    cgroup.attach(path, process.pid)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    assert await process.wait() == -signal.SIGKILL
    process.stdin.close()
    assert cgroup.oom_kill_count(path) == 1

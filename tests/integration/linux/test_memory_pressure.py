"""The kernel's word about tasks that wait for memory: a small cgroup that writes more than it holds."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.linux import cgroup, spawn
from podhost.linux.memory_pressure import MemoryStallWatch

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="control groups need root")

_WRITE = 'read x; while :; do dd if=/dev/zero of="$0" bs=4M count=20 2>/dev/null; cat "$0" >/dev/null; done'


@pytest.fixture
def path() -> Iterator[str]:
    top = f"/podhost-test-{uuid.uuid4().hex[:8]}"
    yield f"{top}/pod"
    cgroup.kill(top)
    cgroup.remove(top)


async def test_stall_is_told(path: str, tmp_path: Path) -> None:
    stalled = asyncio.Event()
    watch = MemoryStallWatch(stalled.set)
    watch.start()
    if not watch.is_watching:
        pytest.skip("the kernel does not count pressure stalls")
    assert cgroup.ensure_pod_parent(path, cgroup.CgroupLimits(memory_limit_bytes=8 << 20)) == []
    writers = [
        await spawn.start(["sh", "-c", _WRITE, str(tmp_path / str(number))], stdin=spawn.PIPE) for number in range(3)
    ]
    try:
        for writer in writers:
            cgroup.attach(path, writer.pid)
            assert writer.stdin is not None
            writer.stdin.write(b"\n")
        async with asyncio.timeout(40):
            await stalled.wait()
    finally:
        watch.stop()
        cgroup.kill(path)
        for writer in writers:
            await writer.wait()
        for file in tmp_path.iterdir():
            file.unlink()
    assert not watch.is_watching

"""Usage of a real cgroup: a process that computes, keeps memory and writes to disk."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from podhost.linux import cgroup, spawn
from podhost.linux.usage import read_cgroup_use, read_machine_use

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="control groups need root")

BUSY = """
import os, sys, time
sys.stdin.readline()
keep = b"x" * (24 << 20)
while time.process_time() < 0.2: pass
child = os.fork()
if child == 0:
    with open(sys.argv[1], "wb") as file:
        file.write(keep[:4 << 20]); file.flush(); os.fsync(file.fileno())
    os._exit(0)
os.waitpid(child, 0)
print("done", flush=True)
sys.stdin.readline()
"""


async def test_processor_memory_and_writes_of_a_process_and_its_dead_child_are_counted() -> None:
    path = f"/podhost-test-{uuid.uuid4().hex[:8]}"
    cgroup.create(path)
    machine, before = read_machine_use().cpu_ns or 0, time.monotonic_ns()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        command = [sys.executable, "-c", BUSY, str(Path(directory, "f"))]
        process = await spawn.start(command, stdin=spawn.PIPE, stdout=spawn.PIPE)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            cgroup.attach(path, process.pid)
            process.stdin.write(b"\n")
            assert await process.stdout.readline() == b"done\n"
            use = read_cgroup_use(path)
            assert use.cpu_ns is not None
            # The interpreter's own start was before it came into the cgroup.
            assert 100_000_000 <= use.cpu_ns < (time.monotonic_ns() - before) * 2
            assert use.memory is not None
            assert 20 << 20 <= use.memory.rss_bytes <= use.memory.working_set_bytes <= 200 << 20
            assert use.pids == 1
            assert use.io is not None
            assert 4 << 20 <= use.io.written_bytes < 64 << 20
            assert (read_machine_use().cpu_ns or 0) > machine
        finally:
            cgroup.kill(path)
            await process.wait()
            cgroup.remove(path)

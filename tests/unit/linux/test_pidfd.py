"""Processes by identity."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

from podhost.linux import pidfd, spawn


async def test_identity_of_a_living_process_opens_it() -> None:
    process = await spawn.start(["sleep", "100"])
    identity = pidfd.identify(process.pid)
    assert identity is not None
    assert identity == pidfd.identify(process.pid)
    fd = pidfd.open_pidfd(identity)
    assert fd is not None
    waiters = asyncio.gather(pidfd.wait_exit(fd), pidfd.wait_exit(fd))
    assert pidfd.send_signal(fd, signal.SIGKILL)
    await waiters
    await process.wait()
    assert not pidfd.send_signal(fd, signal.SIGKILL)
    os.close(fd)
    assert pidfd.identify(process.pid) is None
    assert pidfd.open_pidfd(identity) is None


def test_same_number_with_another_start_or_boot_is_another_process() -> None:
    identity = pidfd.identify(os.getpid())
    assert identity is not None
    assert pidfd.open_pidfd(replace(identity, start_time=identity.start_time - 1)) is None
    assert pidfd.open_pidfd(replace(identity, boot_id="another")) is None


async def test_process_that_is_killed_is_seen_to_end() -> None:
    process = await spawn.start(["sleep", "100"])
    identity = pidfd.identify(process.pid)
    assert identity is not None
    assert not pidfd.is_ending(identity)
    assert pidfd.is_ending(replace(identity, start_time=identity.start_time - 1))
    assert pidfd.is_ending(replace(identity, boot_id="another"))
    os.kill(process.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while not pidfd.is_ending(identity):  # There is a moment in which the kernel shows nothing of it.
            await asyncio.sleep(0)
    await process.wait()
    assert pidfd.is_ending(identity)


async def test_command_name_with_parentheses_does_not_confuse() -> None:
    process = await spawn.start(
        ["sh", "-c", "printf 'a) R 1 (b' > /proc/self/comm 2>/dev/null || true; echo ok; exec cat"],
        stdin=spawn.PIPE,
        stdout=spawn.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert await process.stdout.readline() == b"ok\n"
    identity = pidfd.identify(process.pid)
    mine = pidfd.identify(os.getpid())
    assert identity is not None
    assert mine is not None
    assert identity.start_time >= mine.start_time
    process.stdin.close()
    await process.wait()


async def test_cancelled_wait_leaves_no_descriptor() -> None:
    fd = os.pidfd_open(os.getpid())
    before = len(os.listdir("/proc/self/fd"))
    try:
        await asyncio.wait_for(pidfd.wait_exit(fd), 0.01)
    except TimeoutError:
        pass
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(fd)

"""Attach and log reopening, through conmon."""

from __future__ import annotations

import asyncio
from typing import Any

Machine = Any


async def read_until(session: Any, wanted: bytes) -> bytes:
    out = b""
    async with asyncio.timeout(5):
        while wanted not in out:
            chunk = await session.read()
            assert chunk is not None, out
            out += chunk[1]
    return out


async def test_attached_client_types_and_reads(machine: Machine) -> None:
    container = await machine.start(await machine.sandbox(), "sh", "-c", "read x; echo got $x; read y", stdin=True)
    session = await machine.service.attach(container, tty=False, stdin=True)
    await session.write_stdin(b"abc\n")
    assert b"got abc" in await read_until(session, b"abc")
    await machine.service.stop_container(container, 0)
    assert await session.read() is None
    assert await session.wait() == 0
    await session.close()


async def test_stdin_once_ends_with_its_client(machine: Machine) -> None:
    container = await machine.start(await machine.sandbox(), "cat", stdin=True, stdin_once=True)
    session = await machine.service.attach(container, tty=False, stdin=True)
    await session.write_stdin(b"abc\n")
    await read_until(session, b"abc")
    await session.close_stdin()
    assert (await machine.wait_exited(container)).exit_code == 0
    await session.close()


async def test_terminal_of_a_container_can_be_resized(machine: Machine) -> None:
    container = await machine.start(await machine.sandbox(), "sh", stdin=True, tty=True)
    session = await machine.service.attach(container, tty=True, stdin=True)
    await session.write_stdin(b"echo rea''dy\n")
    await read_until(session, b"ready")
    await session.resize(77, 22)
    await session.write_stdin(b"while [ \"$(stty size)\" != '22 77' ]; do sleep 0.01; done; echo si''zed\n")
    await read_until(session, b"sized")
    await session.close()


async def test_slow_client_is_dropped_and_the_container_goes_on(machine: Machine) -> None:
    script = "read x; head -c 8000000 /dev/zero | tr '\\0' 'a'; echo; exit 0"
    container = await machine.start(await machine.sandbox(), "sh", "-c", script, stdin=True)
    session = await machine.service.attach(container, tty=False, stdin=True)
    await session.write_stdin(b"go\n")
    assert (await machine.wait_exited(container)).exit_code == 0
    async with asyncio.timeout(5):
        await session.wait()
    await session.close()


async def test_log_is_opened_again_after_rotation(machine: Machine) -> None:
    script = "read x; echo one; read x; echo two"
    container = await machine.start(await machine.sandbox(), "sh", "-c", script, stdin=True)
    session = await machine.service.attach(container, tty=False, stdin=True)
    log = machine.service.container_status(container).log_path
    await session.write_stdin(b"\n")
    await read_until(session, b"one")  # conmon writes the log before it tells its clients
    rotated = log.with_name(log.name + ".20261123-160000")
    log.rename(rotated)
    await machine.service.reopen_container_log(container)
    await session.write_stdin(b"\n")
    await machine.wait_exited(container)
    await session.close()
    assert [line.split(" ", 1)[1] for line in rotated.read_text().splitlines()] == ["stdout F one"]
    assert [line.split(" ", 1)[1] for line in log.read_text().splitlines()] == ["stdout F two"]

"""Commands beside a container's own process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from typing import Any

import pytest

from podhost.aiokit import failpoint
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ExecSession, SecurityConfig
from podhost.errors import ConflictError, NotFoundError, PodhostError
from podhost.linux import cgroup

Machine = Any


@pytest.fixture
async def container(machine: Machine) -> ContainerId:
    started: ContainerId = await machine.start(await machine.sandbox(), "sleep", "1000")
    return started


async def read_all(session: ExecSession) -> dict[str, bytes]:
    out = {"stdout": b"", "stderr": b""}
    while (chunk := await session.read()) is not None:
        out[chunk[0]] += chunk[1]
    return out


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
async def test_exec_sync_returns_streams_and_exit_code(machine: Machine, container: ContainerId) -> None:
    result = await machine.service.exec_sync(container, ("sh", "-c", "echo out; echo err >&2; exit 9"), 5)
    assert (result.exit_code, result.stdout, result.stderr) == (9, b"out\n", b"err\n")


async def test_exec_sees_the_environment_of_the_container(machine: Machine, container: ContainerId) -> None:
    result = await machine.service.exec_sync(container, ("sh", "-c", "echo $FROM_IMAGE $HOSTNAME $HOME"), 5)
    assert result.stdout == b"1 pod1 /root\n"


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ("/no/such", 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/bin/plain", 126, 'exec: "/bin/plain": permission denied'),
        ("/etc", 126, 'exec: "/etc": is a directory'),
    ],
)
async def test_command_that_cannot_run_says_so(
    machine: Machine, container: ContainerId, command: str, code: int, text: str
) -> None:
    session = await machine.service.exec(container, (command,), tty=False, stdin=False)
    chunk = await session.read()
    assert chunk is not None
    assert text in chunk[1].decode()
    assert await session.wait() == code
    await session.close()
    with pytest.raises(PodhostError, match=re.escape(text)):  # A probe must tell it from a command that has failed.
        await machine.service.exec_sync(container, (command,), 5)


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
async def test_timeout_kills_all_that_the_command_has_started(machine: Machine, container: ContainerId) -> None:
    """kubernetes#51901, #124226."""
    script = "(setsid sleep 1001 &); sleep 1002 & sleep 1003"
    with pytest.raises(TimeoutError):
        await machine.service.exec_sync(container, ("sh", "-c", script), 0.3)
    listing = await machine.service.exec_sync(container, ("ps",), 5)
    assert b"sleep 100" in listing.stdout
    assert all(f"sleep {n}".encode() not in listing.stdout for n in (1001, 1002, 1003))
    uid = machine.service.container_status(container).pod_uid
    path = f"{machine.settings.cgroup_parent}/pod{uid}/{container}"
    assert len(cgroup.pids(path)) == 1


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
async def test_child_that_keeps_stdout_open_does_not_hold_the_exec(machine: Machine, container: ContainerId) -> None:
    """kubernetes#92057, containerd#7832."""
    async with asyncio.timeout(5):
        result = await machine.service.exec_sync(container, ("sh", "-c", "echo done; sleep 1000 &"), 10)
    assert (result.exit_code, result.stdout) == (0, b"done\n")


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
async def test_stdin_is_streamed_and_ended(machine: Machine, container: ContainerId) -> None:
    session = await machine.service.exec(container, ("wc", "-c"), tty=False, stdin=True)
    for _ in range(40):
        await session.write_stdin(b"x" * 50_000)
    await session.close_stdin()
    assert await read_all(session) == {"stdout": b"2000000\n", "stderr": b""}
    assert await session.wait() == 0
    await session.close()


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
@pytest.mark.parametrize("tty", [False, True])
async def test_null_device_of_the_host_is_not_given_to_the_user_of_an_exec(machine: Machine, tty: bool) -> None:
    """crun#1845."""
    container = await machine.start(await machine.sandbox(), "sleep", "1000", security=SecurityConfig(run_as_user=4711))
    command = ("ls", "-ln", "/dev/null")
    session = await machine.service.exec(container, command, tty=tty, stdin=False)
    out = (await read_all(session))["stdout"].split()
    await session.close()
    assert out[2:4] == [b"0", b"0"]
    assert os.stat("/dev/null").st_uid != 4711


async def test_exec_sync_keeps_the_start_of_a_flood(machine: Machine, container: ContainerId) -> None:
    script = "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2; exit 3"
    result = await machine.service.exec_sync(container, ("sh", "-c", script), 30)
    assert (len(result.stdout), len(result.stderr), result.exit_code) == (64 << 10, 64 << 10, 3)


async def test_large_output_arrives_whole(machine: Machine, container: ContainerId) -> None:
    session = await machine.service.exec(container, ("head", "-c", "5000000", "/dev/zero"), tty=False, stdin=False)
    assert len((await read_all(session))["stdout"]) == 5_000_000
    await session.close()


async def test_terminal_is_real_and_can_be_resized(machine: Machine, container: ContainerId) -> None:
    session = await machine.service.exec(container, ("sh",), tty=True, stdin=True)
    await session.resize(99, 33)
    await session.write_stdin(b"tty; stty size; exit 4\n")
    out = (await read_all(session))["stdout"]
    assert b"/dev/pts/0" in out
    assert b"33 99" in out
    assert await session.wait() == 4
    await session.close()


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
async def test_closing_a_session_ends_its_process(machine: Machine, container: ContainerId) -> None:
    session = await machine.service.exec(container, ("sh", "-c", "echo up; sleep 1000"), tty=False, stdin=False)
    assert await session.read() == ("stdout", b"up\n")
    async with asyncio.timeout(5):
        await session.close()
        assert await session.wait() == 137


async def test_closing_a_session_is_finished_also_when_its_caller_goes_away(
    machine: Machine, container: ContainerId
) -> None:
    session = await machine.service.exec(container, ("sh", "-c", "echo up; sleep 1000"), tty=False, stdin=False)
    assert await session.read() == ("stdout", b"up\n")
    closing = asyncio.create_task(session.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert await session.wait() == 137
    assert list((machine.settings.run_dir / "execs").iterdir()) == []


async def test_exec_of_a_user_without_rights_is_refused_by_the_kernel(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    container = await machine.start(sandbox, "sleep", "1000", security=SecurityConfig(run_as_user=101))
    assert (await machine.service.exec_sync(container, ("id", "-u"), 5)).stdout == b"101\n"


@pytest.mark.parametrize("machine", ["runc"], indirect=True)
async def test_exit_code_of_a_signal_reaches_the_caller_under_runc(machine: Machine, container: ContainerId) -> None:
    result = await machine.service.exec_sync(container, ("sh", "-c", "kill -9 $$"), 5)
    assert result.exit_code == 137


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
async def test_command_that_dies_with_its_container_is_known_for_that(machine: Machine, container: ContainerId) -> None:
    session = await machine.service.exec(container, ("sh", "-c", "echo up; sleep 1000"), tty=False, stdin=False)
    assert await session.read() == ("stdout", b"up\n")
    assert not await machine.service.is_container_ending(container)
    machine.kill(container)
    assert await session.wait() == 137
    assert await machine.service.is_container_ending(container)
    await machine.wait_exited(container)
    assert await machine.service.is_container_ending(container)
    await session.close()


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
async def test_whatever_an_exec_meets_in_a_dying_container_is_no_answer_of_the_command(machine: Machine) -> None:
    """The OCI runtime fails in many ways then, some with an exit code that a command might have."""
    sandbox = await machine.sandbox()

    async def look(container: ContainerId, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        code = -1
        with contextlib.suppress(PodhostError):
            result = await machine.service.exec_sync(container, ("true",), 30)
            code = result.exit_code
            assert result.stderr == b""
        assert code == 0 or await machine.service.is_container_ending(container)

    for number in range(12):
        container = await machine.start(sandbox, "sleep", "1000")
        looks = [asyncio.create_task(look(container, each * 0.004)) for each in range(5)]
        await asyncio.sleep(number * 0.002)
        machine.kill(container)
        await asyncio.gather(*looks)
        await machine.wait_exited(container)


async def test_exec_needs_a_running_container(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    container = await machine.start(sandbox, "true")
    await machine.wait_exited(container)
    with pytest.raises(ConflictError):
        await machine.service.exec_sync(container, ("true",), 5)
    with pytest.raises(NotFoundError):
        await machine.service.exec_sync(ContainerId("none"), ("true",), 5)


STEPS = [name for name in failpoint.known() if name.startswith("exec.")]


@pytest.mark.parametrize("step", STEPS)
async def test_exec_that_fails_at_a_step_leaves_nothing_and_the_next_one_works(
    machine: Machine, container: ContainerId, step: str
) -> None:
    command = ("sh", "-c", "(setsid sleep 1001 &); echo up; exec sleep 0.1")
    failpoint.set(step, "1*error:EIO")
    try:
        with pytest.raises(OSError, match="failpoint"):
            await machine.service.exec_sync(container, command, 20)
        assert list((machine.settings.run_dir / "execs").iterdir()) == []
        listing = (await machine.service.exec_sync(container, ("ps",), 20)).stdout
        assert b"sleep 1001" not in listing
        assert (await machine.service.exec_sync(container, command, 20)).exit_code == 0
    finally:
        failpoint.clear(step)


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
async def test_command_whose_daemon_was_killed_is_ended_by_the_next(machine: Machine, container: ContainerId) -> None:
    left = await machine.service.exec(
        container, ("sh", "-c", "(setsid sleep 1001 > /dev/null 2>&1 < /dev/null &)"), tty=False, stdin=False
    )
    assert await left.wait() == 0
    pid = os.fork()
    if pid == 0:
        _die_with_a_command(machine, container)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    service = await machine.restart()
    listing = (await service.exec_sync(container, ("ps",), 20)).stdout
    assert b"sleep 1002" not in listing
    # What a command that had ended has left in the background goes on, also beside new commands.
    assert b"sleep 1001" in listing
    with pytest.raises(TimeoutError):
        await service.exec_sync(container, ("sleep", "1003"), 0.2)
    assert b"sleep 1001" in (await service.exec_sync(container, ("ps",), 20)).stdout


def _die_with_a_command(machine: Machine, container: ContainerId) -> None:
    """In the forked child: a daemon that is killed while a command runs.  Never returns."""

    async def live() -> None:
        service = machine.new_service()
        await service.recover()
        session = await service.exec(container, ("sh", "-c", "echo up; exec sleep 1002"), tty=False, stdin=False)
        await session.read()
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        asyncio.set_event_loop(None)
        asyncio._set_running_loop(None)
        asyncio.new_event_loop().run_until_complete(live())
    finally:
        os._exit(1)

"""Child processes: output, failures, deadlines, cancellation, and no process left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from podhost.aiokit.tasks import Tasks
from podhost.linux import spawn


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_run_returns_both_streams_and_the_status() -> None:
    done = await spawn.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


async def test_run_hands_over_large_input_and_takes_large_output() -> None:
    data = os.urandom(3 << 20)
    done = await spawn.run(["cat"], input=data)
    assert done.stdout == data


async def test_failure_text_can_be_pasted_into_a_shell() -> None:
    env = {**os.environ, "GREETING": "it's me"}
    with pytest.raises(spawn.CommandError) as caught:
        await spawn.run(["sh", "-c", "echo why >&2; exit 3"], env=env, cwd="/tmp")
    assert str(caught.value) == (
        """(cd /tmp && GREETING='it'"'"'s me' sh -c 'echo why >&2; exit 3'): exit status 3: why"""
    )
    assert caught.value.completed is not None
    assert caught.value.completed.returncode == 3
    assert caught.value.stderr == "why\n"


async def test_long_output_of_a_failure_is_shortened_to_its_end() -> None:
    with pytest.raises(spawn.CommandError) as caught:
        await spawn.run(["sh", "-c", "seq 1 100000; echo the end; exit 1"])
    assert len(str(caught.value)) < 2200
    assert str(caught.value).endswith("the end")


async def test_command_that_does_not_exist_is_a_command_error() -> None:
    before = open_fds()
    with pytest.raises(spawn.CommandError, match=r"cannot run /does/not/exist: .*No such file"):
        await spawn.run(["/does/not/exist"])
    assert open_fds() == before


async def test_death_by_signal_is_named() -> None:
    with pytest.raises(spawn.CommandError, match="killed by SIGTERM"):
        await spawn.run(["sh", "-c", "kill -TERM $$"])
    assert spawn.describe_exit(-250) == "killed by signal 250"


async def test_run_ends_with_the_process_although_a_descendant_keeps_the_output_open() -> None:
    started = time.monotonic()
    done = await spawn.run(["sh", "-c", "sleep 5 & echo $!"])
    assert time.monotonic() - started < 4
    os.kill(int(done.stdout), signal.SIGKILL)


async def test_deadline_kills_the_whole_process_group(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with pytest.raises(TimeoutError, match=r"still running after 0\.3 s, killed"):
        await spawn.run(["sh", "-c", f"sleep 100 & echo $! > {pidfile}; wait"], timeout_s=0.3)
    await wait_gone(int(pidfile.read_text()))


async def test_cancelling_kills_the_whole_process_group(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = Tasks().spawn(spawn.run(["sh", "-c", f"sleep 100 & echo $! > {fifo}; wait"]), name="run")
    pid = int(await asyncio.to_thread(fifo.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_gone(pid)


async def wait_gone(pid: int) -> None:
    """Wait until a process that is no child of ours has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, gone.set)
    await asyncio.wait_for(gone.wait(), 5)
    loop.remove_reader(fd)
    os.close(fd)


async def test_lines_of_both_streams_arrive_one_by_one() -> None:
    lines: list[str] = []
    await spawn.run_lines(["sh", "-c", "printf 'a\\rb\\n'; echo c >&2; printf d"], lines.append)
    assert sorted(lines) == ["a", "b", "c", "d"]


async def test_start_gives_streams_that_can_be_talked_to() -> None:
    process = await spawn.start(["cat"], stdin=spawn.PIPE, stdout=spawn.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"hello\n")
    assert await process.stdout.readline() == b"hello\n"
    process.stdin.close()
    assert await process.stdout.read() == b""
    assert await process.wait() == 0
    assert process.returncode == 0


async def test_several_may_wait_and_signals_to_the_dead_are_harmless() -> None:
    process = await spawn.start(["sleep", "100"])
    assert process.returncode is None
    assert os.getsid(process.pid) == process.pid
    waiters = asyncio.gather(process.wait(), process.wait())
    process.terminate()
    assert list(await waiters) == [-signal.SIGTERM, -signal.SIGTERM]
    process.kill()
    process.kill_session()


async def test_passed_descriptors_reach_the_child() -> None:
    read_fd, write_fd = os.pipe()
    await spawn.run(["sh", "-c", f"echo hi > /proc/self/fd/{write_fd}"], pass_fds=[write_fd])
    os.close(write_fd)
    assert os.read(read_fd, 10) == b"hi\n"
    os.close(read_fd)


async def test_running_leaves_no_descriptor_open() -> None:
    await spawn.run(["true"])
    before = open_fds()
    for _ in range(5):
        await spawn.run(["true"])
    assert open_fds() == before


async def test_starting_a_process_takes_milliseconds() -> None:
    times = []
    for _ in range(15):
        started = time.perf_counter()
        await spawn.run(["/bin/true"])
        times.append(time.perf_counter() - started)
    # 1.2 ms on a quiet machine; the bound only catches a change of kind (a fork of our whole memory).
    assert sorted(times)[3] < 0.02


_PARENT = """
import asyncio
from podhost.linux import spawn
command = "echo $$ > pid.new; mv pid.new pid; exec sleep infinity"
def main():
    asyncio.run(spawn.run(["sh", "-c", command], dies_with_us=True))
"""


async def test_command_that_dies_with_us_does_not_outlive_a_killed_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orphan_maker.py").write_text(_PARENT)
    monkeypatch.syspath_prepend(tmp_path)
    parent = await spawn.start(spawn.build_python_argv("orphan_maker"), cwd=tmp_path)
    async with asyncio.timeout(30):
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.02)
    pidfd = os.pidfd_open(int((tmp_path / "pid").read_text()))
    try:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pidfd, ended.set)
        assert not ended.is_set()
        parent.kill()
        async with asyncio.timeout(30):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        await parent.wait()


async def test_command_that_dies_with_us_fails_as_any_other() -> None:
    with pytest.raises(spawn.CommandError, match=r"cannot run /does/not/exist: .*No such file"):
        await spawn.run(["/does/not/exist"], dies_with_us=True)
    with pytest.raises(spawn.CommandError, match=r"^sh -c 'echo why; exit 3': exit status 3: why$"):
        await spawn.run(["sh", "-c", "echo why; exit 3"], dies_with_us=True)

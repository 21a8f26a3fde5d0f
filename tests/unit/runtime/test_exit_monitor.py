"""Exits are noticed, also when the kernel has no room for more events.  Real inotify on a temporary directory."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from podhost.cri.ids import ContainerId
from podhost.linux.inotify import IN_MOVED_TO, IN_Q_OVERFLOW, Inotify
from podhost.runtime.exit_monitor import ExitFact, ExitMonitor, read_exit_file

_LIMIT = Path("/proc/sys/fs/inotify/max_queued_events")
_MOST = 200_000


def write_exit(exits: Path, name: str, text: str) -> None:
    """As conmon does it: by rename."""
    temporary = exits.parent / f"{name}.tmp"
    temporary.write_text(text)
    temporary.rename(exits / name)


class Exits:
    """Collects what the monitor tells."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self._changed = asyncio.Event()

    async def on_exit(self, container_id: ContainerId, fact: ExitFact | None) -> None:
        assert fact is not None
        self.codes[container_id] = fact.exit_code
        self._changed.set()

    async def wait_for(self, *names: str) -> None:
        async with asyncio.timeout(60):
            while not self.codes.keys() >= set(names):
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def exits(tmp_path: Path) -> Path:
    path = tmp_path / "exits"
    path.mkdir()
    return path


async def test_exit_files_are_told_as_they_come(exits: Path) -> None:
    found = Exits()
    monitor = ExitMonitor(exits, found.on_exit, lambda _: None)
    monitor.start()
    write_exit(exits, "one", "3\n")
    write_exit(exits, "two", "nonsense")
    await found.wait_for("one", "two")
    assert found.codes == {"one": 3, "two": 255}
    await monitor.close()
    assert read_exit_file(exits / "none") is None


async def test_no_exit_is_lost_with_events_that_the_kernel_drops(exits: Path, tmp_path: Path) -> None:
    limit = int(_LIMIT.read_text())
    if limit > _MOST:
        pytest.skip(f"this host queues {limit} events")
    found = Exits()
    monitor = ExitMonitor(exits, found.on_exit, lambda _: None)
    monitor.start()
    # Who watches beside it sees the same: its queue is as long.
    beside = Inotify()
    beside.add_watch(exits, IN_MOVED_TO)
    noise = tmp_path / "noise"
    noise.touch()
    for number in range(limit + 1):
        # Two names in turn: equal events in a row would be one.
        os.rename(noise, exits / f"noise{number % 2}")
        os.rename(exits / f"noise{number % 2}", noise)
    for name in ("a", "b", "c"):
        write_exit(exits, name, "7")
    await found.wait_for("a", "b", "c")
    assert found.codes == dict.fromkeys(("a", "b", "c"), 7)
    seen = [await anext(beside) for _ in range(limit + 1)]
    assert seen[-1].mask & IN_Q_OVERFLOW
    assert not {"a", "b", "c"} & {event.name for event in seen}
    beside.close()
    # It listens on.
    write_exit(exits, "d", "0")
    await found.wait_for("d")
    await monitor.close()

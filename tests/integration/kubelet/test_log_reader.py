"""CRI logs on a real file system, followed by real inotify."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podhost.cri.node import LogOptions
from podhost.kubelet.cri_log import STDOUT, encode_record
from podhost.kubelet.log_reader import LogReader, LogSource
from podhost.kubelet.log_watcher import LogWatcher

T0 = 1_795_449_600_000_000_000


@dataclass
class Writer:
    """A container's log, as conmon writes it."""

    path: Path
    running: bool = True
    count: int = 0
    callbacks: list[Callable[[], None]] = field(default_factory=list)
    rotations: int = 0

    def write(self, lines: int) -> None:
        with self.path.open("ab") as file:
            for _ in range(lines):
                file.write(encode_record(T0 + self.count, STDOUT, b"line %d" % self.count))
                self.count += 1

    def rotate(self) -> None:
        self.rotations += 1
        self.path.rename(self.path.with_name(f"{self.path.name}.20261123-000000-{self.rotations:06d}"))
        self.path.touch()

    def end(self) -> None:
        self.running = False
        for callback in tuple(self.callbacks):
            callback()

    def source(self) -> LogSource:
        def on_end(callback: Callable[[], None]) -> Callable[[], None]:
            self.callbacks.append(callback)
            return lambda: self.callbacks.remove(callback)

        return LogSource(self.path, lambda: self.running, on_end)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "0.log")


@pytest.fixture
async def watcher() -> AsyncIterator[LogWatcher]:
    watcher = LogWatcher()
    yield watcher
    await watcher.close()


async def _read(writer: Writer, watcher: LogWatcher, options: LogOptions) -> bytes:
    reader = LogReader(writer.source(), options, watcher)
    return b"".join([chunk async for chunk in reader.read()])


def _lines(first: int, last: int) -> bytes:
    return b"".join(b"line %d\n" % n for n in range(first, last))


async def test_whole_log_is_read(writer: Writer, watcher: LogWatcher) -> None:
    writer.write(10)
    assert await _read(writer, watcher, LogOptions()) == _lines(0, 10)


async def test_missing_log_is_empty(writer: Writer, watcher: LogWatcher) -> None:
    assert await _read(writer, watcher, LogOptions()) == b""


async def test_rotated_files_are_read_in_their_order(writer: Writer, watcher: LogWatcher) -> None:
    for _ in range(3):
        writer.write(5)
        writer.rotate()
    writer.write(2)
    assert await _read(writer, watcher, LogOptions()) == _lines(0, 17)
    assert await _read(writer, watcher, LogOptions(tail_lines=4)) == _lines(13, 17)
    assert await _read(writer, watcher, LogOptions(tail_lines=0)) == b""


@pytest.mark.parametrize(("options", "wanted"), [(LogOptions(), (0, 9)), (LogOptions(tail_lines=2), (7, 9))])
async def test_reader_who_does_not_follow_gets_what_there_was_when_it_asked(
    writer: Writer, watcher: LogWatcher, options: LogOptions, wanted: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that writes faster than it is read would keep it for ever."""
    monkeypatch.setattr("podhost.kubelet.log_reader.CHUNK_BYTES", 60)
    writer.write(4)
    writer.rotate()
    writer.write(5)
    text = b""
    async for chunk in LogReader(writer.source(), options, watcher).read():
        text += chunk
        assert writer.count < 100
        writer.write(3)
    assert text == _lines(*wanted)


async def test_limit_and_since(writer: Writer, watcher: LogWatcher) -> None:
    writer.write(10)
    assert await _read(writer, watcher, LogOptions(limit_bytes=9)) == b"line 0\nli"
    assert await _read(writer, watcher, LogOptions(since_ns=T0 + 8)) == _lines(8, 10)


async def test_follower_sees_each_line_and_ends_with_the_container(writer: Writer, watcher: LogWatcher) -> None:
    writer.write(3)
    following = asyncio.ensure_future(_read(writer, watcher, LogOptions(follow=True)))
    for _ in range(20):
        writer.write(5)
        await asyncio.sleep(0.001)
    writer.write(1)
    writer.end()
    assert await asyncio.wait_for(following, 5) == _lines(0, 104)
    assert writer.callbacks == []


async def test_follower_loses_nothing_over_rotations(writer: Writer, watcher: LogWatcher) -> None:
    """kubernetes#115701, #126564."""
    writer.write(1)
    following = asyncio.ensure_future(_read(writer, watcher, LogOptions(follow=True)))
    for turn in range(30):
        writer.write(100)
        if turn % 3 == 0:
            writer.rotate()
        await asyncio.sleep(0.002)
    writer.write(7)
    writer.end()
    assert await asyncio.wait_for(following, 5) == _lines(0, writer.count)


async def test_follower_of_a_tail_goes_on_from_there(writer: Writer, watcher: LogWatcher) -> None:
    writer.write(100)
    following = asyncio.ensure_future(_read(writer, watcher, LogOptions(follow=True, tail_lines=2)))
    await asyncio.sleep(0.05)
    writer.write(2)
    writer.end()
    assert await asyncio.wait_for(following, 5) == _lines(98, 102)


async def test_follower_waits_for_the_first_line(writer: Writer, watcher: LogWatcher) -> None:
    following = asyncio.ensure_future(_read(writer, watcher, LogOptions(follow=True)))
    await asyncio.sleep(0.05)
    writer.write(1)
    await asyncio.sleep(0.05)
    writer.end()
    assert await asyncio.wait_for(following, 5) == _lines(0, 1)


async def test_follower_that_leaves_holds_no_files(writer: Writer, watcher: LogWatcher) -> None:
    writer.write(1)
    before = len(os.listdir("/proc/self/fd"))
    reading = LogReader(writer.source(), LogOptions(follow=True), watcher).read()
    assert await anext(reading) == b"line 0\n"
    assert isinstance(reading, AsyncIterator)
    await reading.aclose()  # type: ignore[attr-defined]
    await watcher.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert writer.callbacks == []


async def test_two_hundred_thousand_lines_are_read_quickly(writer: Writer, watcher: LogWatcher) -> None:
    line = b"stdout F some text of the usual length, as an access log has it, with a path and a browser\n"
    writer.path.write_bytes(b"".join(b"2026-11-23T16:00:00.%09d+00:00 " % n + line for n in range(200_000)))
    begun = time.perf_counter()
    size = 0
    async for chunk in LogReader(writer.source(), LogOptions(timestamps=True), watcher).read():
        size += len(chunk)
    assert size == 200_000 * (30 + 1 + len(line) - len(b"stdout F "))
    # 0.15 s on a quiet machine; the budget is 0.4 s, and this only notices a slower kind of algorithm.
    assert time.perf_counter() - begun < 2

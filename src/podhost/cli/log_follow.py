"""Follow the logs of many containers at once: a thread reads each, one place merges and prints."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from podhost.cli.log_merge import LogLine, LogMerger
from podhost.cli.terminal import PREFIX_COLOURS, has_colour, paint
from podhost.client import ApiClient
from podhost.errors import PodhostError


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSource:
    """One run of one container."""

    namespace: str
    pod: str
    container: str
    container_id: str = ""
    stream: str = ""
    """``Stdout`` or ``Stderr``; empty for both as they were written."""

    def split(self) -> tuple[LogSource, LogSource]:
        return replace(self, stream="Stdout"), replace(self, stream="Stderr")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A thread has read something; ``line`` is ``None`` when its stream has ended."""

    source: int
    line: bytes | None
    error: str = ""


_RED = b"\x1b[31m%s\x1b[0m"


class LogFollower:
    """Reads the sources it is given in threads of its own; ``inbox`` receives what they read."""

    def __init__(self, client: ApiClient, inbox: queue.SimpleQueue[object], *, query: Mapping[str, Any]) -> None:
        self._client = client
        self._inbox = inbox
        self._query = dict(query)
        self._sources: list[LogSource] = []
        self._open = 0
        self.merger = LogMerger()

    @property
    def open_streams(self) -> int:
        return self._open

    def source(self, index: int) -> LogSource:
        return self._sources[index]

    def follow(self, source: LogSource, **query: str | int | bool | None) -> None:
        """Start to read one source, once: a source that is known already is left alone."""
        if source in self._sources:
            return
        index = len(self._sources)
        self._sources.append(source)
        self._open += 1
        thread = threading.Thread(
            target=self._read,
            args=(index, source, {**self._query, **query}),
            name=f"log-{source.pod}-{source.container}",
            daemon=True,
        )
        thread.start()

    def accept(self, arrived: Arrived) -> None:
        """Take what a thread has put into the inbox."""
        if arrived.line is None:
            self._open -= 1
        else:
            self.merger.push(arrived.source, arrived.line, time.monotonic())

    def _read(self, index: int, source: LogSource, query: dict[str, Any]) -> None:
        error = ""
        try:
            lines = self._client.stream_log(
                source.namespace,
                source.pod,
                source.container,
                follow=True,
                timestamps=True,
                stream=source.stream or None,
                **query,
            )
            for line in lines:
                self._inbox.put(Arrived(index, line))
        except PodhostError as failure:
            error = str(failure)
        self._inbox.put(Arrived(index, None, error))


class LinePrinter:
    """Writes lines with their container's prefix; one colour a container on a terminal."""

    def __init__(self, *, prefixes: bool, timestamps: bool, out: BinaryIO | None = None) -> None:
        self._prefixes = prefixes
        self._timestamps = timestamps
        self._out = out if out is not None else sys.stdout.buffer
        self._colour = out is None and has_colour(sys.stdout)
        self._names: dict[str, bytes] = {}

    def write(self, line: LogLine, name: str, stream: str = "") -> None:
        parts = []
        if self._prefixes:
            parts.append(self._prefix(name))
        if self._timestamps and line.timestamp:
            parts.append(line.timestamp)
        parts.append(_RED % line.text if self._colour and stream == "Stderr" else line.text)
        self._out.write(b" ".join(parts) + b"\n")

    def flush(self) -> None:
        self._out.flush()

    def _prefix(self, name: str) -> bytes:
        if name not in self._names:
            colour = PREFIX_COLOURS[len(self._names) % len(PREFIX_COLOURS)]
            self._names[name] = paint(f"[{name}]", colour, enabled=self._colour).encode()
        return self._names[name]


def sources_of(pod: Mapping[str, Any]) -> list[LogSource]:
    """Every run of a container of the pod that has a log by now; init containers come first."""
    metadata, status = pod.get("metadata") or {}, pod.get("status") or {}
    found = []
    for section in ("initContainerStatuses", "containerStatuses"):
        for entry in status.get(section) or []:
            state = entry.get("state") or {}
            ended = state.get("terminated") or {}
            # A container that never ran (the runtime refused it) has no log to read.
            ran = "running" in state or bool(ended.get("startedAt"))
            if ran:
                found.append(
                    LogSource(
                        namespace=str(metadata.get("namespace", "")),
                        pod=str(metadata.get("name", "")),
                        container=str(entry.get("name", "")),
                        container_id=str(ended.get("containerID") or entry.get("containerID") or ""),
                    )
                )
    return found

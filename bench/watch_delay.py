"""The delay of a watch event with one watcher and with many, beside the floor: as many sockets, written by a bare loop.

The reader is one epoll loop that looks at nothing but when bytes arrive, so that what it shows is the server's share.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.daemon import Daemon

CHANGES = 40
ROUNDS = 3
"""Of both in turn; the best of each counts, as other load only adds to it."""
CONFIGS = "/api/v1/namespaces/default/configmaps"
_EVENT_BYTES = 700
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Delays:
    """Of each change: when the median watcher had it, and the last one."""

    medians_s: list[float]
    lasts_s: list[float]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.medians_s) * 1e3

    @property
    def last_ms(self) -> float:
        return statistics.median(self.lasts_s) * 1e3


def measure(readers: Sequence[socket.socket], change: Callable[[int], None]) -> Delays:
    """Seconds from before each change until its bytes are at the readers."""
    with contextlib.closing(select.epoll()) as poll:
        places = {reader.fileno(): reader for reader in readers}
        for fd in places:
            poll.register(fd, select.EPOLLIN)
        medians, lasts = [], []
        for number in range(CHANGES):
            begin = time.perf_counter()
            change(number)
            arrivals: list[float] = []
            while len(arrivals) < len(places):
                for fd, _ in poll.poll(maxevents=len(places)):
                    arrivals.append(time.perf_counter() - begin)
                    if not places[fd].recv(1 << 16):
                        raise RuntimeError("the server has ended a watch")
            medians.append(statistics.median(arrivals))
            lasts.append(arrivals[-1])
    return Delays(medians, lasts)


def measure_floor(count: int) -> Delays:
    """A process that writes the same bytes to all sockets in a loop, at each byte that comes to it."""
    pairs = [socket.socketpair() for _ in range(count)]
    trigger, heard = socket.socketpair()
    child = os.fork()
    if child == 0:
        trigger.close()  # its end must be seen here
        while heard.recv(1):
            for server, _ in pairs:
                server.send(b"x" * _EVENT_BYTES)
        os._exit(0)
    try:
        return measure([reader for _, reader in pairs], lambda _: trigger.sendall(b"!"))
    finally:
        heard.close()
        trigger.close()
        os.waitpid(child, 0)
        for pair in pairs:
            for each in pair:
                each.close()


def measure_watchers(daemon: Daemon, count: int) -> Delays:
    """Watchers of one ConfigMap, which is written again and again."""
    with contextlib.ExitStack() as closing:
        watchers = [closing.enter_context(_watch(daemon)) for _ in range(count)]
        writer = closing.enter_context(_connect(daemon))

        def write(number: int) -> None:
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched"}}
            body = json.dumps(document | {"data": {"number": str(number), "more": "x" * 300}}).encode()
            if number:
                _read_answer(writer)
            method, path = ("PUT", f"{CONFIGS}/watched") if number else ("POST", CONFIGS)
            head = f"{method} {path} HTTP/1.1\r\nHost: podhost\r\nContent-Type: application/json\r\n"
            writer.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

        try:
            return measure(watchers, write)
        finally:
            daemon.request("DELETE", f"{CONFIGS}/watched")


def _connect(daemon: Daemon) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(daemon.socket_path))
    return connection


def _watch(daemon: Daemon) -> socket.socket:
    connection = _connect(daemon)
    query = "watch=1&fieldSelector=metadata.name%3Dwatched"
    connection.sendall(f"GET {CONFIGS}?{query} HTTP/1.1\r\nHost: podhost\r\n\r\n".encode())
    _read_head(connection)
    return connection


def _read_head(connection: socket.socket) -> bytes:
    head = b""
    while _HEAD_END not in head:
        head += connection.recv(4096)
    return head


def _read_answer(connection: socket.socket) -> None:
    head, _, rest = _read_head(connection).partition(_HEAD_END)
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(rest) < length:
        rest += connection.recv(4096)


def report(daemon: Daemon) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16_384, hard), hard))
    for count in (1, 1000):
        rounds = [(measure_floor(count), measure_watchers(daemon, count)) for _ in range(ROUNDS)]
        floor, found = (min(each, key=lambda delays: delays.median_ms) for each in zip(*rounds, strict=True))
        print(
            f"  watch event, {count:5} watchers: half have it after {found.median_ms:6.2f} ms, all after "
            f"{found.last_ms:6.2f} ms   (a bare loop: {floor.median_ms:.2f} and {floor.last_ms:.2f} ms)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

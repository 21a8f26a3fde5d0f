"""The CRI log format, without I/O: bytes in, records out.

One record a line: ``2026-11-23T16:00:00.000000000Z stdout F some text\\n``.  ``P`` marks a part of a line that
was too long for one record; parts are put together at the next ``F`` of the same stream.  Work is done on big
chunks; a timestamp is parsed only where a time is asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

STDOUT = b"stdout"
STDERR = b"stderr"
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record, as written."""

    timestamp: bytes
    stream: bytes
    partial: bool
    content: bytes
    """Without the newline."""


def encode_record(time_ns: int, stream: bytes, content: bytes, *, partial: bool = False) -> bytes:
    """One record with its newline."""
    tag = b"P" if partial else b"F"
    return b"%s %s %s %s\n" % (format_timestamp(time_ns), stream, tag, content)


def format_timestamp(time_ns: int) -> bytes:
    """RFC 3339 with nanoseconds, UTC."""
    seconds, rest = divmod(time_ns, _NS_PER_S)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".encode()


def parse_timestamp_ns(text: bytes) -> int:
    """Nanoseconds since the epoch.  Raises ValueError."""
    head, rest = text[:19], text[19:]
    digits = b""
    if rest[:1] == b".":
        end = 1
        while end < len(rest) and rest[end : end + 1].isdigit():
            end += 1
        digits, rest = rest[1:end], rest[end:]
    zone = "+00:00" if rest in (b"Z", b"z") else rest.decode()
    moment = datetime.fromisoformat(head.decode() + zone)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return int(moment.timestamp()) * _NS_PER_S + int(digits[:9].ljust(9, b"0") or b"0")


def parse_record(line: bytes) -> LogRecord:
    """One line without its newline.  Raises ValueError."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (STDOUT, STDERR) or parts[2][:1] not in (b"F", b"P"):
        raise ValueError(f"not a CRI log record: {line[:80]!r}")
    # Tags may be joined by ":"; only the first is defined.
    return LogRecord(parts[0], parts[1], parts[2].split(b":")[0] == b"P", parts[3] if len(parts) > 3 else b"")


class LogDecoder:
    """Turns chunks of a log file into what a reader of the API sees.

    Args:
        timestamps: Put each line's time in front of it.
        since_ns: Leave out what is older.
        stream: ``b"stdout"``, ``b"stderr"`` or ``None`` for both.
    """

    def __init__(self, *, timestamps: bool = False, since_ns: int = 0, stream: bytes | None = None) -> None:
        self._timestamps = timestamps
        self._since_ns = since_ns
        self._stream = stream
        self._rest = b""
        self._at_line_start = {STDOUT: True, STDERR: True}

    def feed(self, chunk: bytes) -> bytes:
        """Output of the complete records so far; an incomplete one waits for the next chunk."""
        data = self._rest + chunk if self._rest else chunk
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if not end:
            return b""
        lines = data[: end - 1].split(b"\n")
        if self._since_ns:
            lines = self._drop_older(lines)
        if self._is_plain():
            fast = _decode_plain(lines, self._timestamps, self._stream)
            if fast is not None:
                return fast
        return b"".join(self._decode_slowly(lines))

    def _is_plain(self) -> bool:
        return all(self._at_line_start.values())

    def _drop_older(self, lines: list[bytes]) -> list[bytes]:
        """Records are in the order of time: find the first that is young enough, then stop comparing."""
        first = bisect_left(lines, self._since_ns, key=_time_of)
        if first < len(lines):
            self._since_ns = 0
        return lines[first:]

    def _decode_slowly(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            try:
                record = parse_record(line)
            except ValueError:
                continue  # A torn line (power failure) must not hide the rest.
            if self._stream is not None and record.stream != self._stream:
                continue
            if self._timestamps and self._at_line_start[record.stream]:
                yield _to_zulu(record.timestamp) + b" "
            yield record.content if record.partial else record.content + b"\n"
            self._at_line_start[record.stream] = not record.partial


def _time_of(line: bytes) -> int:
    try:
        return parse_timestamp_ns(line.partition(b" ")[0])
    except ValueError:
        return 0


def _to_zulu(timestamp: bytes) -> bytes:
    """conmon writes ``+00:00``; Kubernetes shows ``Z``."""
    return timestamp[:-6] + b"Z" if timestamp.endswith(b"+00:00") else timestamp


def _decode_plain(lines: list[bytes], timestamps: bool, stream: bytes | None) -> bytes | None:
    """The quick way for whole lines; ``None`` when a record needs the careful one."""
    marks = {STDOUT: b" stdout F ", STDERR: b" stderr F "}
    output: list[bytes] = []
    append = output.append
    wanted_marks = tuple(marks.values()) if stream is None else (marks[stream],)
    for line in lines:
        at = line.find(b" ")
        mark = line[at : at + 10]
        if mark in wanted_marks:
            append(_to_zulu(line[:at]) + line[at + 9 :] if timestamps else line[at + 10 :])
        elif mark not in marks.values():
            return None
    if not output:
        return b""
    append(b"")
    return b"\n".join(output)


def find_tail_offset(
    size: int, lines: int, read_at: Callable[[int, int], bytes], *, block: int = 1 << 16, goes_on: bool = False
) -> tuple[int, int]:
    """Where the last ``lines`` lines of a file begin.

    A line whose parts are several records counts once, and one that is not finished counts as well, unless the log
    ``goes_on`` in another file.  Only as much as needed is read, from the end.

    Returns:
        (offset, lines that are still missing when the beginning of the file was reached).
    """
    if lines <= 0:
        return size, 0
    position, carry = size, b""
    found = 0
    is_open_end = not goes_on
    while position > 0:
        step = min(block, position)
        position -= step
        data = read_at(position, step) + carry
        # Records that begin in this block: after each newline, and at the beginning of the file.
        end = len(data)
        while True:
            newline = data.rfind(b"\n", 0, end - 1)
            if newline < 0:
                break
            record, record_at = data[newline + 1 : end], position + newline + 1
            end = newline + 1
            if is_open_end or not _is_partial(record):
                if found == lines:
                    return record_at + len(record), 0
                found += 1
            is_open_end = False
        carry = data[:end]
        if len(carry) > 1 << 24:
            break  # Not a CRI log; do not read all of it into memory.
    if carry and (is_open_end or not _is_partial(carry)):
        if found == lines:
            return len(carry), 0
        found += 1
    return 0, lines - found


def _is_partial(record: bytes) -> bool:
    at = record.find(b" ")
    return record[at + 7 : at + 10] == b" P " or record[at + 7 : at + 10] == b" P\n"

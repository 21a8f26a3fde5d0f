"""The protocols of exec and attach, without I/O.

Each binary WebSocket message begins with the number of its channel.  v5 adds channel 255, whose one byte names
a channel that the sender has closed: the end of stdin.  Before v4 the status was plain text, and only for failures.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import msgspec

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
V4_BASE64 = "v4.base64.channel.k8s.io"
UNVERSIONED, UNVERSIONED_BASE64 = "channel.k8s.io", "base64.channel.k8s.io"
PROTOCOLS = (V5, V4, V4_BASE64, UNVERSIONED, UNVERSIONED_BASE64)
"""Of WebSockets, in the order of our preference."""
BASE64_PROTOCOLS = frozenset({V4_BASE64, UNVERSIONED_BASE64})
"""Messages are text: the channel's digit, then base64."""
RESIZABLE_PROTOCOLS = frozenset({V5, V4, "v3.channel.k8s.io"})
"""Of SPDY: those with a stream for the terminal's size."""
_STATUS_PROTOCOLS = frozenset({V5, V4, V4_BASE64})


class Channel(IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255


class ChannelError(ValueError):
    """The client sent what the protocol does not allow."""


@dataclass(frozen=True, slots=True)
class StdinData:
    data: bytes


@dataclass(frozen=True, slots=True)
class StdinEnd:
    pass


@dataclass(frozen=True, slots=True)
class Resize:
    """New size of the terminal in characters."""

    width: int
    height: int


ClientEvent = StdinData | StdinEnd | Resize


class _TerminalSize(msgspec.Struct):
    width: int = msgspec.field(name="Width", default=0)
    height: int = msgspec.field(name="Height", default=0)


def decode_message(protocol: str, message: bytes) -> ClientEvent | None:
    """What a client says; ``None`` for what means nothing (an empty message, an unknown channel).

    Raises:
        ChannelError: It cannot be understood.
    """
    if not message:
        return None
    channel, data = message[0], message[1:]
    if channel == Channel.STDIN:
        return StdinData(data) if data else None
    if channel == Channel.RESIZE:
        return decode_resize(data)
    if channel == Channel.CLOSE and protocol == V5:
        return _decode_close(data)
    return None


def encode_output(stream: Literal["stdout", "stderr"], data: bytes) -> bytes:
    """A message with output."""
    return (b"\x01" if stream == "stdout" else b"\x02") + data


def encode_greeting(*, stdout: bool, stderr: bool) -> bytes:
    """The empty message by which the server says that the streams are open."""
    channel = Channel.STDOUT if stdout else Channel.STDERR if stderr else Channel.ERROR
    return bytes([channel])


def encode_status_text(protocol: str, status: dict[str, Any]) -> bytes:
    """What the error channel says at the end; empty where a protocol says nothing of success."""
    if protocol in _STATUS_PROTOCOLS:
        return msgspec.json.encode(status)
    return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()


def build_exit_status(exit_code: int) -> dict[str, Any]:
    """The Status of a command that has ended."""
    if exit_code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {exit_code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }


def decode_resize(data: bytes) -> Resize | None:
    """A terminal's size; ``None`` for one that no terminal has.  Raises ChannelError."""
    try:
        size = msgspec.json.decode(data, type=_TerminalSize)
    except msgspec.DecodeError as error:
        raise ChannelError(f"cannot read a terminal size: {error}") from error
    if not (0 < size.width < 65536 and 0 < size.height < 65536):
        return None  # kubectl sends 0x0 when its terminal has gone
    return Resize(size.width, size.height)


def _decode_close(data: bytes) -> ClientEvent | None:
    if len(data) != 1:
        raise ChannelError(f"cannot read a close message of {len(data)} bytes")
    return StdinEnd() if data[0] == Channel.STDIN else None

"""Frames of SPDY/3.1: bytes to frames and back.

Data frames are handed on in pieces, as they arrive, so that nothing of up to 16 MiB is ever collected; control
frames are whole, and small.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from podhost.wire.spdy_headers import MAX_BLOCK_BYTES, HeaderBlockError, HeaderDecoder, HeaderEncoder

MAX_DATA_BYTES = (1 << 24) - 1
INITIAL_WINDOW_BYTES = 1 << 16
_VERSION = 3
_HEAD = struct.Struct("!II")
_FLAG_FIN, _FLAG_UNIDIRECTIONAL = 1, 2
_SETTING_INITIAL_WINDOW = 7
_MAX_CONTROL_BYTES = MAX_BLOCK_BYTES + 16


class SpdyError(Exception):
    """The other side broke the protocol: the connection cannot go on."""


class FrameType(IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class ResetStatus(IntEnum):
    """Why a stream was broken off."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7


@dataclass(frozen=True, slots=True)
class SynStream:
    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False
    unidirectional: bool = False


@dataclass(frozen=True, slots=True)
class SynReply:
    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class MoreHeaders:
    """HEADERS: more of them for an open stream."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    initial_window_bytes: int | None


@dataclass(frozen=True, slots=True)
class Ping:
    ping_id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last_stream_id: int
    status: int = 0


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    stream_id: int
    """0 is the window of the whole connection."""
    delta_bytes: int


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a data frame; ``fin`` comes with the last one."""

    stream_id: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | MoreHeaders | RstStream | Settings | Ping | GoAway | WindowUpdate | Data


class FrameEncoder:
    """Frames to bytes, for one direction of a connection."""

    def __init__(self) -> None:
        self._headers = HeaderEncoder()

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data(stream_id, data, fin):
                return _HEAD.pack(stream_id, int(fin) << 24 | len(data)) + data
            case SynStream(stream_id, headers, fin):
                body = struct.pack("!IIH", stream_id, 0, 0) + self._headers.encode(headers)
                return _control(FrameType.SYN_STREAM, body, flags=int(fin))
            case SynReply(stream_id, headers, fin):
                body = struct.pack("!I", stream_id) + self._headers.encode(headers)
                return _control(FrameType.SYN_REPLY, body, flags=int(fin))
            case MoreHeaders(stream_id, headers, fin):
                body = struct.pack("!I", stream_id) + self._headers.encode(headers)
                return _control(FrameType.HEADERS, body, flags=int(fin))
            case RstStream(stream_id, status):
                return _control(FrameType.RST_STREAM, struct.pack("!II", stream_id, status))
            case Ping(ping_id):
                return _control(FrameType.PING, struct.pack("!I", ping_id))
            case GoAway(last_stream_id, status):
                return _control(FrameType.GOAWAY, struct.pack("!II", last_stream_id, status))
            case WindowUpdate(stream_id, delta_bytes):
                return _control(FrameType.WINDOW_UPDATE, struct.pack("!II", stream_id, delta_bytes))
            case Settings(initial_window_bytes):
                values = () if initial_window_bytes is None else ((_SETTING_INITIAL_WINDOW, initial_window_bytes),)
                pairs = b"".join(struct.pack("!II", *pair) for pair in values)
                return _control(FrameType.SETTINGS, struct.pack("!I", len(values)) + pairs)


class FrameDecoder:
    """Bytes to frames, for one direction of a connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._headers = HeaderDecoder()
        self._data: tuple[int, bool, int] | None = None
        """Of the data frame that is arriving: stream, FIN, bytes that are still missing."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames, and pieces of data frames, that are there now.  Raises SpdyError; nothing follows it."""
        self._buffer += data
        while True:
            if self._data is None and not self._begin_data_frame():
                frame, known = self._take_control_frame()
                if not known:
                    return
                if frame is not None:
                    yield frame
                continue
            piece = self._take_data()
            if piece is None:
                return
            yield piece

    def _begin_data_frame(self) -> bool:
        """Whether a data frame has begun."""
        if len(self._buffer) < _HEAD.size or self._buffer[0] & 0x80:
            return False
        stream_id, second = _HEAD.unpack_from(self._buffer)
        if stream_id == 0:
            raise SpdyError("a data frame belongs to no stream")
        del self._buffer[: _HEAD.size]
        self._data = (stream_id, bool(second >> 24 & _FLAG_FIN), second & MAX_DATA_BYTES)
        return True

    def _take_data(self) -> Data | None:
        assert self._data is not None
        stream_id, fin, missing = self._data
        if missing and not self._buffer:
            return None
        piece = bytes(self._buffer[:missing])
        del self._buffer[:missing]
        missing -= len(piece)
        self._data = (stream_id, fin, missing) if missing else None
        return Data(stream_id, piece, fin and not missing)

    def _take_control_frame(self) -> tuple[Frame | None, bool]:
        """(frame, whether one was there); ``None`` for one of a kind that we do not know, which is passed over."""
        buffer = self._buffer
        if len(buffer) < _HEAD.size:
            return None, False
        first, second = _HEAD.unpack_from(buffer)
        version, kind, flags, length = first >> 16 & 0x7FFF, first & 0xFFFF, second >> 24, second & MAX_DATA_BYTES
        if version != _VERSION:
            raise SpdyError(f"a frame of version {version}, not {_VERSION}")
        if length > _MAX_CONTROL_BYTES:
            raise SpdyError(f"a control frame of {length} bytes is more than {_MAX_CONTROL_BYTES}")
        if len(buffer) < _HEAD.size + length:
            return None, False
        body = bytes(buffer[_HEAD.size : _HEAD.size + length])
        del buffer[: _HEAD.size + length]
        try:
            return self._decode(kind, flags, body), True
        except (struct.error, HeaderBlockError) as error:
            raise SpdyError(f"cannot read a frame of type {kind}: {error}") from error

    def _decode(self, kind: int, flags: int, body: bytes) -> Frame | None:
        fin = bool(flags & _FLAG_FIN)
        match kind:
            case FrameType.SYN_STREAM:
                stream_id, _, _ = struct.unpack_from("!IIH", body)
                headers = self._headers.decode(body[10:])
                return SynStream(_stream(stream_id), headers, fin, bool(flags & _FLAG_UNIDIRECTIONAL))
            case FrameType.SYN_REPLY:
                (stream_id,) = struct.unpack_from("!I", body)
                return SynReply(_stream(stream_id), self._headers.decode(body[4:]), fin)
            case FrameType.HEADERS:
                (stream_id,) = struct.unpack_from("!I", body)
                return MoreHeaders(_stream(stream_id), self._headers.decode(body[4:]), fin)
            case FrameType.RST_STREAM:
                stream_id, status = struct.unpack("!II", body)
                return RstStream(_stream(stream_id), status)
            case FrameType.PING:
                return Ping(*struct.unpack("!I", body))
            case FrameType.GOAWAY:
                last, status = struct.unpack("!II", body)
                return GoAway(last & 0x7FFFFFFF, status)
            case FrameType.WINDOW_UPDATE:
                stream_id, delta = struct.unpack("!II", body)
                return WindowUpdate(stream_id & 0x7FFFFFFF, delta & 0x7FFFFFFF)
            case FrameType.SETTINGS:
                return _decode_settings(body)
        return None


def _control(kind: FrameType, body: bytes, *, flags: int = 0) -> bytes:
    return _HEAD.pack(0x80000000 | _VERSION << 16 | kind, flags << 24 | len(body)) + body


def _stream(stream_id: int) -> int:
    stream_id &= 0x7FFFFFFF
    if stream_id == 0:
        raise SpdyError("a frame belongs to no stream")
    return stream_id


def _decode_settings(body: bytes) -> Settings:
    (count,) = struct.unpack_from("!I", body)
    if len(body) != 4 + 8 * count:
        raise SpdyError(f"{count} settings do not fill {len(body)} bytes")
    values = {key & 0xFFFFFF: value for key, value in struct.iter_unpack("!II", body[4:])}
    return Settings(values.get(_SETTING_INITIAL_WINDOW))

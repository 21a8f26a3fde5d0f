"""One end of a SPDY/3.1 connection: which streams are open, who may send how much.

A stream::

    open ──our FIN──▶ half closed ──their FIN──▶ closed        RST_STREAM from either side closes it at once
      └────their FIN──▶ half closed ──our FIN────▶ closed

Flow control: we give back window as what arrived is consumed, as the protocol wants it.  The peers in use (kubectl
and all that is made with client-go) neither give window back nor wait for any.  So a peer's windows bind us only
from the moment it shows that it keeps them, by a WINDOW_UPDATE or an initial window in SETTINGS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from podhost.wire import spdy_frames as frames
from podhost.wire.spdy_frames import INITIAL_WINDOW_BYTES, FrameDecoder, FrameEncoder, ResetStatus, SpdyError

CONNECTION_WINDOW_BYTES = 1 << 20
"""What a peer that keeps windows may have under way on all streams together."""
_MAX_WINDOW_BYTES = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream: answer with ``reply`` or ``reset``."""

    stream_id: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StreamReplied:
    """The peer accepted a stream of ours."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class DataReceived:
    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The peer sends no more on it."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The peer broke it off: nothing more in either direction."""

    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class WindowChanged:
    """More may be sent than before, on one stream or on many."""


@dataclass(frozen=True, slots=True)
class PeerLeaves:
    """The peer opens no more streams and takes no new ones."""


Event = StreamOpened | StreamReplied | DataReceived | StreamEnded | StreamReset | WindowChanged | PeerLeaves


@dataclass(slots=True)
class _Stream:
    may_send: bool = True
    may_receive: bool = True
    send_window: int = INITIAL_WINDOW_BYTES
    consumed: int = 0
    """Bytes for which no window was given back yet."""


class SpdySession:
    """Bytes from the peer go into :meth:`receive`; after every call, send what :meth:`take_output` gives."""

    def __init__(self, *, server: bool, max_streams: int = 4096) -> None:
        self._encoder = FrameEncoder()
        self._decoder = FrameDecoder()
        self._out = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._max_streams = max_streams
        self._own_parity = 0 if server else 1
        self._next_id = 2 if server else 1
        self._last_peer_id = 0
        self._peer_keeps_windows = False
        self._peer_initial_window = INITIAL_WINDOW_BYTES
        self._connection_window = INITIAL_WINDOW_BYTES
        self._connection_consumed = 0
        self._widened = False

    def receive(self, data: bytes) -> Iterator[Event]:
        """What the peer says.  Exhaust it before the next call.

        Raises:
            SpdyError: It broke the protocol; send the output (a GOAWAY) and close the connection.
        """
        try:
            for frame in self._decoder.feed(data):
                yield from self._on_frame(frame)
        except SpdyError:
            self.go_away(status=1)
            raise

    def take_output(self) -> bytes:
        """Bytes for the peer."""
        data = bytes(self._out)
        self._out.clear()
        return data

    # -- what we do -------------------------------------------------------------------------------------------

    def open_stream(self, headers: Mapping[str, str], *, fin: bool = False) -> int:
        """Open a stream; its number.  ``fin``: we shall send nothing on it."""
        self._widen_once()
        stream_id = self._next_id
        self._next_id += 2
        self._streams[stream_id] = _Stream(may_send=not fin, send_window=self._peer_initial_window)
        self._send(frames.SynStream(stream_id, headers, fin))
        return stream_id

    def reply(self, stream_id: int) -> None:
        """Accept a stream of the peer."""
        if stream_id in self._streams:
            self._send(frames.SynReply(stream_id, {}))

    def sendable_bytes(self, stream_id: int) -> int:
        """How much may be sent on a stream now; 0 also when it is closed for us."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.may_send:
            return 0
        if not self._peer_keeps_windows:
            return frames.MAX_DATA_BYTES
        return max(0, min(stream.send_window, self._connection_window))

    def is_open(self, stream_id: int) -> bool:
        """Whether anything may still happen on the stream."""
        return stream_id in self._streams

    def can_send(self, stream_id: int) -> bool:
        """Whether the stream is open for us, even if its window is used up."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.may_send

    def send_data(self, stream_id: int, data: bytes, *, fin: bool = False) -> None:
        """Send on an open stream, no more than :meth:`sendable_bytes`; a closed one swallows it."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.may_send:
            return
        stream.send_window -= len(data)
        self._connection_window -= len(data)
        self._send(frames.Data(stream_id, data, fin))
        if fin:
            stream.may_send = False
            self._forget_if_closed(stream_id)

    def consume(self, stream_id: int, count: int) -> None:
        """``count`` received bytes have been used: the peer may send as many more."""
        self._connection_consumed += count
        if self._connection_consumed >= CONNECTION_WINDOW_BYTES // 4:
            self._send(frames.WindowUpdate(0, self._connection_consumed))
            self._connection_consumed = 0
        stream = self._streams.get(stream_id)
        if stream is None or not stream.may_receive:
            return
        stream.consumed += count
        if stream.consumed >= INITIAL_WINDOW_BYTES // 2:
            self._send(frames.WindowUpdate(stream_id, stream.consumed))
            stream.consumed = 0

    def reset(self, stream_id: int, status: ResetStatus = ResetStatus.CANCEL) -> None:
        """Break a stream off; nothing when it is closed already."""
        if self._streams.pop(stream_id, None) is not None:
            self._send(frames.RstStream(stream_id, status))

    def go_away(self, *, status: int = 0) -> None:
        """Say that we leave."""
        self._send(frames.GoAway(self._last_peer_id, status))

    # -- what the peer does -----------------------------------------------------------------------------------

    def _on_frame(self, frame: frames.Frame) -> Iterator[Event]:
        match frame:
            case frames.Data():
                yield from self._on_data(frame)
            case frames.SynStream():
                yield from self._on_syn_stream(frame)
            case frames.SynReply(stream_id, _, fin):
                if stream_id in self._streams:
                    yield StreamReplied(stream_id)
                    yield from self._on_fin(stream_id, fin)
            case frames.MoreHeaders(stream_id, _, fin):
                yield from self._on_fin(stream_id, fin)
            case frames.RstStream(stream_id, status):
                if self._streams.pop(stream_id, None) is not None:
                    yield StreamReset(stream_id, status)
            case frames.Ping(ping_id):
                if ping_id % 2 != self._own_parity:
                    self._send(frame)
            case frames.GoAway():
                yield PeerLeaves()
            case frames.WindowUpdate(stream_id, delta_bytes):
                yield from self._on_window_update(stream_id, delta_bytes)
            case frames.Settings(initial_window_bytes):
                yield from self._on_initial_window(initial_window_bytes)

    def _on_syn_stream(self, frame: frames.SynStream) -> Iterator[Event]:
        stream_id = frame.stream_id
        if stream_id % 2 == self._own_parity or stream_id <= self._last_peer_id:
            raise SpdyError(f"the peer opened stream {stream_id} after {self._last_peer_id}")
        self._last_peer_id = stream_id
        if len(self._streams) >= self._max_streams:
            self._send(frames.RstStream(stream_id, ResetStatus.REFUSED_STREAM))
            return
        self._widen_once()
        window = self._peer_initial_window
        self._streams[stream_id] = _Stream(may_send=not frame.unidirectional, send_window=window)
        yield StreamOpened(stream_id, frame.headers)
        yield from self._on_fin(stream_id, frame.fin)

    def _widen_once(self) -> None:
        """Window of the connection: one stream whose data nobody takes must not hold up all others."""
        if not self._widened:
            self._widened = True
            self._send(frames.WindowUpdate(0, CONNECTION_WINDOW_BYTES - INITIAL_WINDOW_BYTES))

    def _on_data(self, frame: frames.Data) -> Iterator[Event]:
        stream = self._streams.get(frame.stream_id)
        if stream is None or not stream.may_receive:
            # What was under way when the stream was closed.  It has used up window all the same.
            self.consume(frame.stream_id, len(frame.data))
            if stream is not None or not self._was_open(frame.stream_id):
                self._streams.pop(frame.stream_id, None)
                self._send(frames.RstStream(frame.stream_id, ResetStatus.INVALID_STREAM))
            if stream is not None:
                yield StreamReset(frame.stream_id, ResetStatus.PROTOCOL_ERROR)
            return
        if frame.data:
            yield DataReceived(frame.stream_id, frame.data)
        yield from self._on_fin(frame.stream_id, frame.fin)

    def _was_open(self, stream_id: int) -> bool:
        if stream_id % 2 == self._own_parity:
            return stream_id < self._next_id
        return stream_id <= self._last_peer_id

    def _on_fin(self, stream_id: int, fin: bool) -> Iterator[Event]:
        stream = self._streams.get(stream_id)
        if fin and stream is not None and stream.may_receive:
            stream.may_receive = False
            self._forget_if_closed(stream_id)
            yield StreamEnded(stream_id)

    def _on_window_update(self, stream_id: int, delta: int) -> Iterator[Event]:
        self._peer_keeps_windows = True
        if stream_id == 0:
            self._connection_window += delta
            if self._connection_window > _MAX_WINDOW_BYTES:
                raise SpdyError("the window of the connection is too wide")
        elif (stream := self._streams.get(stream_id)) is not None:
            stream.send_window += delta
            if stream.send_window > _MAX_WINDOW_BYTES:
                self.reset(stream_id, ResetStatus.FLOW_CONTROL_ERROR)
                yield StreamReset(stream_id, ResetStatus.FLOW_CONTROL_ERROR)
        yield WindowChanged()

    def _on_initial_window(self, size: int | None) -> Iterator[Event]:
        if size is None:
            return
        if size > _MAX_WINDOW_BYTES:
            raise SpdyError("the initial window is too wide")
        self._peer_keeps_windows = True
        for stream in self._streams.values():
            stream.send_window += size - self._peer_initial_window
        self._peer_initial_window = size
        yield WindowChanged()

    def _forget_if_closed(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        if not stream.may_send and not stream.may_receive:
            del self._streams[stream_id]

    def _send(self, frame: frames.Frame) -> None:
        self._out += self._encoder.encode(frame)

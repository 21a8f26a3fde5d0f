"""Streams and windows of a SPDY connection."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podhost.wire import spdy_frames as frames
from podhost.wire.spdy_frames import INITIAL_WINDOW_BYTES, FrameDecoder, FrameEncoder, ResetStatus, SpdyError
from podhost.wire.spdy_session import (
    DataReceived,
    Event,
    PeerLeaves,
    SpdySession,
    StreamEnded,
    StreamOpened,
    StreamReplied,
    StreamReset,
    WindowChanged,
)


class Peer:
    """A client by hand: frames in and out."""

    def __init__(self, session: SpdySession) -> None:
        self.session = session
        self._encoder = FrameEncoder()
        self._decoder = FrameDecoder()

    def send(self, *sent: frames.Frame) -> list[Event]:
        return list(self.session.receive(b"".join(self._encoder.encode(frame) for frame in sent)))

    def received(self) -> list[frames.Frame]:
        found = self._decoder.feed(self.session.take_output())
        return [frame for frame in found if frame != frames.WindowUpdate(0, (1 << 20) - INITIAL_WINDOW_BYTES)]


@pytest.fixture
def peer() -> Peer:
    return Peer(SpdySession(server=True, max_streams=3))


def test_stream_is_opened_replied_and_closed_by_both(peer: Peer) -> None:
    assert peer.send(frames.SynStream(1, {"streamtype": "data"})) == [StreamOpened(1, {"streamtype": "data"})]
    peer.session.reply(1)
    assert peer.received() == [frames.SynReply(1, {})]
    assert peer.send(frames.Data(1, b"in", fin=True)) == [DataReceived(1, b"in"), StreamEnded(1)]
    peer.session.send_data(1, b"out")
    peer.session.send_data(1, b"", fin=True)
    assert peer.received() == [frames.Data(1, b"out"), frames.Data(1, b"", fin=True)]
    assert not peer.session.is_open(1)


def test_half_closed_stream_still_carries_the_other_direction(peer: Peer) -> None:
    peer.send(frames.SynStream(1, {}))
    peer.session.send_data(1, b"", fin=True)
    assert peer.session.is_open(1)
    assert not peer.session.can_send(1)
    assert peer.send(frames.Data(1, b"more")) == [DataReceived(1, b"more")]


def test_stream_that_is_opened_with_fin_has_ended_at_once(peer: Peer) -> None:
    assert peer.send(frames.SynStream(1, {}, fin=True)) == [StreamOpened(1, {}), StreamEnded(1)]
    assert peer.session.can_send(1)


def test_reset_by_the_peer_closes_both_directions_of_that_stream_only(peer: Peer) -> None:
    peer.send(frames.SynStream(1, {}), frames.SynStream(3, {}))
    assert peer.send(frames.RstStream(1, 5)) == [StreamReset(1, 5)]
    assert (peer.session.is_open(1), peer.session.is_open(3)) == (False, True)
    peer.received()
    peer.session.send_data(1, b"too late")
    peer.session.reset(1)
    assert peer.received() == []


def test_data_for_a_stream_that_we_have_reset_is_swallowed(peer: Peer) -> None:
    peer.send(frames.SynStream(1, {}))
    peer.session.reset(1, ResetStatus.REFUSED_STREAM)
    assert peer.received() == [frames.RstStream(1, ResetStatus.REFUSED_STREAM)]
    assert peer.send(frames.Data(1, b"under way")) == []
    assert peer.received() == []


def test_data_for_a_stream_that_never_was_is_refused(peer: Peer) -> None:
    assert peer.send(frames.Data(7, b"x")) == []
    assert peer.received() == [frames.RstStream(7, ResetStatus.INVALID_STREAM)]


def test_data_after_fin_breaks_the_stream(peer: Peer) -> None:
    peer.send(frames.SynStream(1, {}, fin=True))
    assert peer.send(frames.Data(1, b"x")) == [StreamReset(1, ResetStatus.PROTOCOL_ERROR)]
    assert not peer.session.is_open(1)


@pytest.mark.parametrize("stream_id", [1, 2])
def test_stream_number_of_ours_or_not_rising_ends_the_connection(peer: Peer, stream_id: int) -> None:
    peer.send(frames.SynStream(1, {}))
    peer.received()
    with pytest.raises(SpdyError, match="opened stream"):
        peer.send(frames.SynStream(stream_id, {}))
    assert peer.received() == [frames.GoAway(1, 1)]


def test_too_many_streams_are_refused_and_others_go_on(peer: Peer) -> None:
    opened = peer.send(*(frames.SynStream(number, {}) for number in (1, 3, 5, 7)))
    assert opened == [StreamOpened(number, {}) for number in (1, 3, 5)]
    assert peer.received() == [frames.RstStream(7, ResetStatus.REFUSED_STREAM)]


def test_ping_of_the_peer_is_answered_and_an_answer_is_not(peer: Peer) -> None:
    peer.send(frames.Ping(1), frames.Ping(2))
    assert peer.received() == [frames.Ping(1)]


def test_goaway_is_told(peer: Peer) -> None:
    assert peer.send(frames.GoAway(0)) == [PeerLeaves()]


def test_client_opens_streams_with_odd_numbers() -> None:
    client = SpdySession(server=False)
    peer = Peer(client)
    assert [client.open_stream({}), client.open_stream({}, fin=True)] == [1, 3]
    assert peer.received() == [frames.SynStream(1, {}), frames.SynStream(3, {}, fin=True)]
    assert peer.send(frames.SynReply(1, {}), frames.SynReply(3, {}, fin=True)) == [
        StreamReplied(1),
        StreamReplied(3),
        StreamEnded(3),
    ]
    assert not client.is_open(3)


def test_window_is_given_back_as_data_is_consumed(peer: Peer) -> None:
    peer.send(frames.SynStream(1, {}), frames.Data(1, b"x" * 40000))
    peer.session.consume(1, 30000)
    assert peer.received() == []
    peer.session.consume(1, 10000)
    assert peer.received() == [frames.WindowUpdate(1, 40000)]


def test_peer_without_flow_control_is_not_held_up(peer: Peer) -> None:
    peer.send(frames.SynStream(1, {}))
    peer.session.send_data(1, b"x" * (1 << 20))
    assert peer.session.sendable_bytes(1) > 1 << 20


def test_windows_bind_from_the_moment_the_peer_shows_that_it_keeps_them(peer: Peer) -> None:
    peer.send(frames.SynStream(1, {}))
    peer.session.send_data(1, b"x" * 60000)
    assert peer.send(frames.WindowUpdate(1, 1000)) == [WindowChanged()]
    assert peer.session.sendable_bytes(1) == 5536  # of the connection: 65,536 - 60,000
    peer.send(frames.WindowUpdate(0, 100000))
    assert peer.session.sendable_bytes(1) == 6536
    peer.send(frames.Settings(0))
    assert peer.session.sendable_bytes(1) == 0
    assert peer.session.can_send(1)


def test_window_that_overflows_breaks_its_stream(peer: Peer) -> None:
    peer.send(frames.SynStream(1, {}))
    events = peer.send(frames.WindowUpdate(1, (1 << 31) - 1))
    assert events == [StreamReset(1, ResetStatus.FLOW_CONTROL_ERROR), WindowChanged()]
    with pytest.raises(SpdyError, match="window of the connection"):
        peer.send(frames.WindowUpdate(0, (1 << 31) - 1))


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_garbage_ends_in_spdy_error_and_goaway(parts: list[bytes]) -> None:
    session = SpdySession(server=True)
    try:
        for part in parts:
            list(session.receive(part))
    except SpdyError:
        assert list(FrameDecoder().feed(session.take_output()))[-1] == frames.GoAway(0, 1)


def test_two_ends_that_keep_windows_never_stall() -> None:
    client, server = SpdySession(server=False), SpdySession(server=True)
    number = client.open_stream({})
    list(server.receive(client.take_output()))
    left, received = 5 << 20, 0
    while received < 5 << 20:
        count = min(left, server.sendable_bytes(number), 10000)
        if count:
            server.send_data(number, bytes(count))
            left -= count
        for event in client.receive(server.take_output()):
            if isinstance(event, DataReceived):
                received += len(event.data)
                client.consume(number, len(event.data))
        list(server.receive(client.take_output()))


class TwoEnds(RuleBasedStateMachine):
    """A client's session against a server's: whatever they do, both see the same bytes and the same ends."""

    @initialize()
    def connect(self) -> None:
        self.ends = {"client": SpdySession(server=False), "server": SpdySession(server=True)}
        self.sent: dict[tuple[str, int], bytes] = {}
        self.got: dict[tuple[str, int], bytes] = {}
        self.finished: set[tuple[str, int]] = set()
        self.saw_end: set[tuple[str, int]] = set()
        self.broken: set[int] = set()
        self.numbers: list[int] = []

    @rule()
    def open(self) -> None:
        number = self.ends["client"].open_stream({"n": str(len(self.numbers))})
        self.numbers.append(number)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), who=st.sampled_from(["client", "server"]), payload=st.binary(max_size=100), fin=st.booleans())
    def send(self, data: st.DataObject, who: str, payload: bytes, fin: bool) -> None:
        number = data.draw(st.sampled_from(self.numbers))
        if not self.ends[who].can_send(number):
            return
        key = (who, number)
        self.sent[key] = self.sent.get(key, b"") + payload
        if fin:
            self.finished.add(key)
        self.ends[who].send_data(number, payload, fin=fin)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), who=st.sampled_from(["client", "server"]))
    def reset(self, data: st.DataObject, who: str) -> None:
        number = data.draw(st.sampled_from(self.numbers))
        if self.ends[who].is_open(number):
            self.broken.add(number)
            self.ends[who].reset(number)

    @rule(who=st.sampled_from(["client", "server"]))
    def deliver(self, who: str) -> None:
        other = "server" if who == "client" else "client"
        for event in self.ends[other].receive(self.ends[who].take_output()):
            match event:
                case DataReceived(number, data):
                    key = (who, number)
                    self.got[key] = self.got.get(key, b"") + data
                    self.ends[other].consume(number, len(data))
                case StreamEnded(number):
                    self.saw_end.add((who, number))

    @invariant()
    def nothing_is_received_that_was_not_sent(self) -> None:
        for key, got in self.got.items():
            assert self.sent[key].startswith(got)

    def teardown(self) -> None:
        if not hasattr(self, "ends"):
            return
        for _ in range(3):
            self.deliver("client")
            self.deliver("server")
        for key, sent in self.sent.items():
            if key[1] not in self.broken:
                assert self.got.get(key, b"") == sent
                assert (key in self.saw_end) is (key in self.finished)


TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = settings(max_examples=60, stateful_step_count=40)

"""Frames of SPDY/3.1."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.wire.spdy_frames import (
    Data,
    Frame,
    FrameDecoder,
    FrameEncoder,
    GoAway,
    MoreHeaders,
    Ping,
    RstStream,
    Settings,
    SpdyError,
    SynReply,
    SynStream,
    WindowUpdate,
)

ids = st.integers(1, (1 << 31) - 1)
headers = st.dictionaries(st.sampled_from(["port", "streamtype", "requestid"]), st.text("abc019", max_size=9))
any_frame = st.one_of(
    st.builds(SynStream, ids, headers, st.booleans()),
    st.builds(SynReply, ids, headers, st.booleans()),
    st.builds(MoreHeaders, ids, headers, st.booleans()),
    st.builds(RstStream, ids, st.integers(1, 11)),
    st.builds(Settings, st.none() | st.integers(0, (1 << 31) - 1)),
    st.builds(Ping, st.integers(1, (1 << 32) - 1)),
    st.builds(GoAway, ids, st.integers(0, 2)),
    st.builds(WindowUpdate, st.just(0) | ids, st.integers(1, (1 << 31) - 1)),
    st.builds(Data, ids, st.binary(max_size=300), st.booleans()),
)


def join_pieces(frames: Sequence[Frame]) -> list[Frame]:
    """Data frames put together again from their pieces (each of these tests ends a frame by FIN or another id)."""
    joined: list[Frame] = []
    for frame in frames:
        last = joined[-1] if joined else None
        if isinstance(frame, Data) and isinstance(last, Data) and last.stream_id == frame.stream_id and not last.fin:
            joined[-1] = Data(frame.stream_id, last.data + frame.data, frame.fin)
        else:
            joined.append(frame)
    return joined


@given(st.lists(any_frame, max_size=12), st.data())
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(sent: list[Frame], data: st.DataObject) -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    wire = b"".join(encoder.encode(frame) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    parts = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    received = [frame for part in parts for frame in decoder.feed(part)]
    assert join_pieces(received) == join_pieces(sent)


@given(st.lists(st.binary(max_size=400), max_size=5))
def test_no_garbage_breaks_the_decoder_otherwise_than_by_its_own_error(parts: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        for part in parts:
            for frame in decoder.feed(part):
                assert frame is not None
    except SpdyError:
        return


@given(st.integers(0, 12), st.integers(0, 255), st.binary(max_size=64))
def test_control_frames_with_any_body_are_read_or_refused(kind: int, flags: int, body: bytes) -> None:
    wire = struct.pack("!II", 0x80030000 | kind, flags << 24 | len(body)) + body
    try:
        frames = list(FrameDecoder().feed(wire))
    except SpdyError:
        return
    assert len(frames) <= 1


def test_data_is_handed_on_as_it_arrives() -> None:
    decoder = FrameDecoder()
    wire = FrameEncoder().encode(Data(1, b"x" * 1000, fin=True))
    assert list(decoder.feed(wire[:508])) == [Data(1, b"x" * 500)]
    assert list(decoder.feed(wire[508:])) == [Data(1, b"x" * 500, fin=True)]


def test_bytes_are_those_of_the_specification() -> None:
    encoder = FrameEncoder()
    assert encoder.encode(Data(5, b"hi", fin=True)) == bytes.fromhex("00000005 01000002 6869")
    assert encoder.encode(RstStream(1, 5)) == bytes.fromhex("80030003 00000008 00000001 00000005")
    assert encoder.encode(Ping(2)) == bytes.fromhex("80030006 00000004 00000002")
    assert encoder.encode(GoAway(3)) == bytes.fromhex("80030007 00000008 00000003 00000000")
    assert encoder.encode(WindowUpdate(1, 9)) == bytes.fromhex("80030009 00000008 00000001 00000009")
    assert encoder.encode(Settings(16)) == bytes.fromhex("80030004 0000000c 00000001 00000007 00000010")
    assert encoder.encode(SynStream(1, {}, fin=True))[:5] == bytes.fromhex("80030001 01")


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        ("80020006 00000004 00000001", "version 2"),
        ("00000000 00000001 00", "no stream"),
        ("80030003 00000008 00000000 00000001", "no stream"),
        ("80030003 00000004 00000001", "cannot read a frame of type 3"),
        ("80030006 00000000", "cannot read a frame of type 6"),
        ("80030004 00000008 00000007 00000000", "7 settings do not fill 8 bytes"),
        ("80030008 00ffffff", "a control frame of 16777215 bytes"),
    ],
)
def test_broken_frame_says_what_is_wrong(wire: str, problem: str) -> None:
    with pytest.raises(SpdyError, match=problem):
        list(FrameDecoder().feed(bytes.fromhex(wire)))


def test_frames_of_unknown_types_are_passed_over() -> None:
    wire = bytes.fromhex("8003000a 00000002 ffff") + FrameEncoder().encode(Ping(1))
    assert list(FrameDecoder().feed(wire)) == [Ping(1)]

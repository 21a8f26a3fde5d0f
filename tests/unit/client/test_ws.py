"""RFC 6455 framing without sockets; the examples are the RFC's own (section 5.7, 1.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.client import ws
from podhost.client.ws import FrameParser, Message, Opcode, ProtocolError, encode_frame

HELLO = bytes.fromhex("81 05 48 65 6c 6c 6f")
MASKED_HELLO = bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58")


def test_frames_are_those_of_the_rfc() -> None:
    assert encode_frame(Opcode.TEXT, b"Hello") == HELLO
    assert encode_frame(Opcode.TEXT, b"Hello", mask=bytes.fromhex("37fa213d")) == MASKED_HELLO


@pytest.mark.parametrize("data", [HELLO, MASKED_HELLO])
def test_both_are_read_back(data: bytes) -> None:
    assert FrameParser().feed(data) == [Message(Opcode.TEXT, b"Hello")]


def test_fragments_are_put_together_and_a_ping_between_them_is_seen() -> None:
    data = bytes.fromhex("01 03 48 65 6c") + encode_frame(Opcode.PING, b"x") + bytes.fromhex("80 02 6c 6f")
    assert FrameParser().feed(data) == [Message(Opcode.PING, b"x"), Message(Opcode.TEXT, b"Hello")]


@given(st.lists(st.binary(max_size=70_000), max_size=4), st.integers(1, 5000))
def test_messages_survive_any_cut(payloads: list[bytes], step: int) -> None:
    data = b"".join(encode_frame(Opcode.BINARY, payload, mask=b"\x01\x02\x03\x04") for payload in payloads)
    parser = FrameParser()
    out = [message for start in range(0, len(data), step) for message in parser.feed(data[start : start + step])]
    assert [message.data for message in out] == payloads


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("c1 00"),  # a reserved bit
        bytes.fromhex("83 00"),  # an unknown opcode
        bytes.fromhex("80 00"),  # a continuation of nothing
        bytes.fromhex("09 00"),  # a ping in fragments
        bytes.fromhex("89 7e 00 80"),  # a ping that is too long
        bytes.fromhex("01 00 01 00"),  # a new message inside another
        bytes.fromhex("82 7f 00 00 00 00 ff ff ff ff"),  # 4 GiB
    ],
)
def test_broken_frames_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        FrameParser().feed(data)


def test_accept_value_is_that_of_the_rfc() -> None:
    assert ws.accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_handshake_offers_the_protocols() -> None:
    request = ws.build_handshake("h", "/p?q=1", "key", ("v5", "v4"), {"Authorization": "Bearer t"}).decode()
    assert request.startswith("GET /p?q=1 HTTP/1.1\r\nHost: h\r\n")
    assert "\r\nSec-WebSocket-Protocol: v5, v4\r\n" in request
    assert request.endswith("Authorization: Bearer t\r\n\r\n")


def test_response_head_is_parsed() -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX: a: b"
    assert ws.parse_response_head(head) == (101, "Switching Protocols", {"upgrade": "websocket", "x": "a: b"})


def test_something_else_than_http_is_refused() -> None:
    with pytest.raises(ProtocolError):
        ws.parse_response_head(b"SSH-2.0-OpenSSH")

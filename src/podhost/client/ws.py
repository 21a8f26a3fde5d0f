"""WebSocket, client side (RFC 6455): a core without I/O, and the opening handshake.

Extensions are not offered.  Only what the Kubernetes streams need: binary and text messages, ping, close.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from dataclasses import dataclass
from enum import IntEnum

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_MESSAGE_BYTES = 32 << 20


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class ProtocolError(Exception):
    """The other side broke RFC 6455."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole text or binary message, or a control frame."""

    opcode: Opcode
    data: bytes


def mask_payload(payload: bytes, mask: bytes) -> bytes:
    """XOR with the four bytes of ``mask``; its own inverse."""
    if not payload:
        return payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")


def encode_frame(opcode: Opcode, payload: bytes, *, mask: bytes | None = None, fin: bool = True) -> bytes:
    """One frame; clients must give ``mask`` (four random bytes), servers must not."""
    head = bytes([(0x80 if fin else 0) | opcode])
    flag = 0x80 if mask is not None else 0
    length = len(payload)
    if length < 126:
        head += bytes([flag | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", flag | 126, length)
    else:
        head += struct.pack("!BQ", flag | 127, length)
    return head + payload if mask is None else head + mask + mask_payload(payload, mask)


class FrameParser:
    """Bytes in, messages out; fragments are put together."""

    def __init__(self, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._buffer = bytearray()
        self._max = max_message_bytes
        self._opcode: Opcode | None = None
        self._fragments: list[bytes] = []

    def feed(self, data: bytes) -> list[Message]:
        """Messages that are complete now.  Raises ProtocolError."""
        self._buffer += data
        messages = []
        while (frame := self._take_frame()) is not None:
            message = self._assemble(*frame)
            if message is not None:
                messages.append(message)
        return messages

    def _take_frame(self) -> tuple[bool, Opcode, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if buffer[0] & 0x70:
            raise ProtocolError("reserved bits are set, but no extension was agreed on")
        try:
            opcode = Opcode(buffer[0] & 0x0F)
        except ValueError as error:
            raise ProtocolError(f"unknown opcode {buffer[0] & 0x0F}") from error
        fin, masked, length, start = bool(buffer[0] & 0x80), bool(buffer[1] & 0x80), buffer[1] & 0x7F, 2
        if opcode >= Opcode.CLOSE and (length > 125 or not fin):
            raise ProtocolError("a control frame is too long or in fragments")
        if length >= 126:
            layout = "!H" if length == 126 else "!Q"
            if len(buffer) < 2 + struct.calcsize(layout):
                return None
            (length,) = struct.unpack_from(layout, buffer, 2)
            start += struct.calcsize(layout)
        if length > self._max:
            raise ProtocolError(f"a frame of {length} bytes is more than {self._max}")
        mask_end = start + (4 if masked else 0)
        if len(buffer) < mask_end + length:
            return None
        payload = bytes(buffer[mask_end : mask_end + length])
        if masked:
            payload = mask_payload(payload, bytes(buffer[start:mask_end]))
        del buffer[: mask_end + length]
        return fin, opcode, payload

    def _assemble(self, fin: bool, opcode: Opcode, payload: bytes) -> Message | None:
        if opcode >= Opcode.CLOSE:
            return Message(opcode, payload)
        if (opcode is Opcode.CONTINUATION) is (self._opcode is None):
            raise ProtocolError("fragments are out of order")
        self._opcode = self._opcode if self._opcode is not None else opcode
        self._fragments.append(payload)
        if sum(map(len, self._fragments)) > self._max:
            raise ProtocolError(f"a message is more than {self._max} bytes")
        if not fin:
            return None
        message = Message(self._opcode, b"".join(self._fragments))
        self._opcode, self._fragments = None, []
        return message


def generate_key() -> str:
    return base64.b64encode(os.urandom(16)).decode()


def accept_value(key: str) -> str:
    """``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key``."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID, usedforsecurity=False).digest()).decode()


def build_handshake(host: str, target: str, key: str, protocols: tuple[str, ...], headers: dict[str, str]) -> bytes:
    """The upgrade request."""
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        f"Sec-WebSocket-Protocol: {', '.join(protocols)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def parse_response_head(head: bytes) -> tuple[int, str, dict[str, str]]:
    """Status code, reason and lower-case headers of an answer's head.  Raises ProtocolError."""
    first, *rest = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise ProtocolError(f"the answer begins with '{first}'")
    headers = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return int(parts[1]), parts[2] if len(parts) > 2 else "", headers

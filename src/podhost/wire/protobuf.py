"""Writing protobuf by hand, for the few messages that are no reason to carry its library.  Pure."""

from __future__ import annotations

_LENGTH_DELIMITED = 2


def encode_field(number: int, value: bytes) -> bytes:
    """A field of bytes, text or another message."""
    return _encode_varint(number << 3 | _LENGTH_DELIMITED) + _encode_varint(len(value)) + value


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

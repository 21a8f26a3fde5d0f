"""Content codings, undone and done again piece by piece."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.apiserver.content_codings import Coding, CodingError


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-zlib.MAX_WBITS)


def raw_inflate(data: bytes) -> bytes:
    return zlib.decompress(data, wbits=-zlib.MAX_WBITS)


def as_it_is(data: bytes) -> bytes:
    return data


Step = Callable[[bytes], bytes]
CODINGS: list[tuple[str, Step, Step]] = [
    ("", as_it_is, as_it_is),
    ("identity", as_it_is, as_it_is),
    ("gzip", gzip.compress, gzip.decompress),
    ("GZIP", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:]), gzip.decompress),
    ("deflate", zlib.compress, zlib.decompress),
    ("deflate", raw_deflate, raw_inflate),
]


@pytest.mark.parametrize(("name", "pack", "unpack"), CODINGS)
@given(content=st.binary(max_size=200), size=st.integers(1, 50))
def test_content_survives_in_the_same_coding(name: str, pack: Step, unpack: Step, content: bytes, size: int) -> None:
    coding = Coding.find(name)
    assert coding is not None
    packed = pack(content)
    pieces = [piece for at in range(0, len(packed), size) for piece in coding.decode(packed[at : at + size])]
    assert b"".join(pieces) == content
    assert unpack(b"".join(map(coding.encode, pieces)) + coding.end()) == content


def test_each_piece_can_be_read_at_once() -> None:
    coding = Coding.find("gzip")
    assert coding is not None
    (piece,) = coding.decode(gzip.compress(b"now"))
    assert zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(coding.encode(piece)) == b"now"


def test_a_bomb_comes_out_in_small_pieces() -> None:
    coding = Coding.find("gzip")
    assert coding is not None
    pieces = coding.decode(gzip.compress(bytes(50 << 20)))
    sizes = [len(piece) for piece in pieces]
    assert (sum(sizes), max(sizes)) == (50 << 20, 16 << 10)


@pytest.mark.parametrize("name", ["br", "zstd", "gzip, br", "compress"])
def test_other_codings_are_not_touched(name: str) -> None:
    assert Coding.find(name) is None


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_what_is_not_in_its_coding_is_an_error(name: str) -> None:
    coding = Coding.find(name)
    assert coding is not None
    with pytest.raises(CodingError, match=f"cannot read the body as {name}"):
        list(coding.decode(b"\xff\xff plain text"))


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_body_without_its_end_is_not_given_one(name: str, pack: Step) -> None:
    coding = Coding.find(name)
    assert coding is not None
    list(coding.decode(pack(b"content")[:-5]))
    with pytest.raises(CodingError, match="it ends too early"):
        coding.end()

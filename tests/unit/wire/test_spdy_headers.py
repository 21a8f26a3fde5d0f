"""Header blocks of SPDY/3."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.wire.spdy_headers import DICTIONARY, MAX_BLOCK_BYTES, HeaderBlockError, HeaderDecoder, HeaderEncoder

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).map(str.lower)
values = st.text(st.characters(max_codepoint=255), max_size=50)


def pack(raw: bytes) -> bytes:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    return compressor.compress(raw) + compressor.flush(zlib.Z_SYNC_FLUSH)


def test_dictionary_is_that_of_the_specification() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.lists(st.dictionaries(names, values, max_size=8), min_size=1, max_size=5))
def test_blocks_come_out_as_they_went_in(blocks: list[dict[str, str]]) -> None:
    encoder, decoder = HeaderEncoder(), HeaderDecoder()
    assert [decoder.decode(encoder.encode(block)) for block in blocks] == blocks


def test_names_are_written_and_read_in_lower_case() -> None:
    assert HeaderDecoder().decode(HeaderEncoder().encode({"streamType": "Data"})) == {"streamtype": "Data"}
    raw = struct.pack("!I", 1) + struct.pack("!I", 1) + b"A" + struct.pack("!I", 1) + b"B"
    assert HeaderDecoder().decode(pack(raw)) == {"a": "B"}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "cut short"),
        (struct.pack("!I", 1), "0 texts for 1 headers"),
        (struct.pack("!II", 1, 5) + b"abc", "cut short"),
        (struct.pack("!II", 0, 0), "1 texts for 0 headers"),
        (struct.pack("!II", 1, 0) + b"\0\0", "cut short"),
        (struct.pack("!I", 2) + (struct.pack("!I", 1) + b"a") * 4, "names a header twice"),
        (bytes(MAX_BLOCK_BYTES + 1), "more than"),
    ],
)
def test_broken_block_says_what_is_wrong(raw: bytes, problem: str) -> None:
    with pytest.raises(HeaderBlockError, match=problem):
        HeaderDecoder().decode(pack(raw))


def test_bomb_is_not_unpacked() -> None:
    with pytest.raises(HeaderBlockError, match="more than"):
        HeaderDecoder().decode(pack(bytes(64 << 20)))


@given(st.binary(max_size=200))
def test_garbage_is_refused(block: bytes) -> None:
    with pytest.raises(HeaderBlockError):
        HeaderDecoder().decode(b"\x00" + block)


def test_end_of_the_compressed_stream_is_refused() -> None:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    whole = compressor.compress(struct.pack("!I", 0)) + compressor.flush()
    with pytest.raises(HeaderBlockError, match="ends the compressed stream"):
        HeaderDecoder().decode(whole)

"""The tar reader agrees with Python's own, and survives anything."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podhost.images.layer_apply import clean_name, wanted_xattr
from podhost.images.layer_stream import DigestError, decompress
from podhost.images.tar_reader import ByteSource, TarError, padding, parse_pax, quote_name, read_entries


def _source(data: bytes, piece: int = 700) -> ByteSource:
    pieces: Iterator[bytes] = (data[at : at + piece] for at in range(0, len(data), piece))
    return ByteSource(lambda: next(pieces, b""))


def _read(data: bytes, piece: int = 700) -> list[tuple[bytes, bytes, int, int, bytes]]:
    source = _source(data, piece)
    found = []
    for entry in read_entries(source):
        content = b"".join(bytes(part) for part in source.pieces(entry.size))
        found.append((entry.name, entry.link, entry.uid, entry.mtime_ns // 10**9, content))
    return found


_MEMBERS = st.lists(
    st.tuples(
        st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=150),
        st.binary(max_size=2000),
        st.integers(0, (1 << 32) - 2),
        st.integers(0, 1 << 36),
    ),
    max_size=5,
)


@settings(deadline=None, max_examples=60)
@given(members=_MEMBERS, format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), piece=st.integers(1, 3000))
def test_reader_sees_what_tarfile_has_written(
    members: list[tuple[str, bytes, int, int]], format: int, piece: int
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, content, uid, mtime in members:
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.mtime = len(content), uid, mtime
            archive.addfile(info, io.BytesIO(content))
    wanted = [(name.encode(), b"", uid, mtime, content) for name, content, uid, mtime in members]
    assert _read(buffer.getvalue(), piece) == wanted


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_spoiled_tars_raise_tar_error_and_nothing_else(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("näme" * 40)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    raw = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 2047))] = data.draw(st.integers(0, 255))
    try:
        _read(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    except TarError:
        pass


@pytest.mark.parametrize(
    ("changes", "pax", "text"),
    [
        ({"uid": 1 << 40}, {}, 'owner 1099511627776:0 of "a" is out of range'),
        ({}, {"gid": "-1"}, 'owner 0:-1 of "a" is out of range'),
        ({}, {"mtime": "99999999999999999999"}, 'time of "a" is out of range'),
        ({"type": tarfile.CHRTYPE, "devmajor": 1 << 33}, {}, 'device 8589934592:0 of "a" is out of range'),
    ],
)
def test_numbers_that_no_kernel_takes_are_refused(changes: dict[str, Any], pax: dict[str, str], text: str) -> None:
    info = tarfile.TarInfo("a")
    info.pax_headers = pax
    for name, value in changes.items():
        setattr(info, name, value)
    form: Any = tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT
    with pytest.raises(TarError, match=text):
        _read(info.tobuf(form) + bytes(1024))


@pytest.mark.parametrize("data", [b"0 a=b\n", b"-5 a=b\n", b"x a=b\n", b"6 a=b", b"7 abcd\n", b"99 a=b\n"])
def test_bad_pax_records_are_refused(data: bytes) -> None:
    with pytest.raises(TarError):
        parse_pax(data)


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        (b"a/b", b"a/b"), (b"./a/b/", b"a/b"), (b"/a", b"a"), (b"a//b", b"a/b"), (b"a/../b", b"b"), (b"./", b""),
        (b".", b""), (b"/", b""), (b"a/.", b"a"), (b"..a/b..", b"..a/b.."), (b"a/./b", b"a/b"),
    ],
)  # fmt: skip
def test_names_are_cleaned(name: bytes, clean: bytes) -> None:
    assert clean_name(name) == clean


@pytest.mark.parametrize("name", [b"..", b"../a", b"a/../..", b"/../a", b"a/../../b"])
def test_names_that_climb_out_are_refused(name: bytes) -> None:
    with pytest.raises(TarError, match="leads out"):
        clean_name(name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"usr/\xc3\xa9", '"usr/é"'),
        (b"a\x1b[2Jb", '"a\\x1b[2Jb"'),
        (b"\xff", '"\\xff"'),
        (b"a" * 150 + b"b" * 150, f'"{"a" * 100}…{"b" * 100}"'),
    ],
)
def test_names_in_messages_are_short_and_harmless(name: bytes, shown: str) -> None:
    assert quote_name(name) == shown


def test_overlay_attributes_are_never_taken_from_a_layer() -> None:
    names = ["security.capability", "user.x", "user.overlay.opaque", "trusted.overlay.redirect", "security.selinux"]
    assert [name for name in names if wanted_xattr(name)] == ["security.capability", "user.x"]


def test_gzip_members_may_follow_each_other_and_bombs_come_in_small_pieces() -> None:
    data = gzip.compress(b"a") + gzip.compress(bytes(50 << 20)) + bytes(20)
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    sizes = [len(piece) for piece in decompress(iter(pieces), "gzip")]
    assert sum(sizes) == 1 + (50 << 20)
    assert max(sizes) <= 1 << 20


@pytest.mark.parametrize("data", [gzip.compress(b"abc" * 100)[:-5], b"\x1f\x8bnonsense", zlib.compress(b"x")])
def test_damaged_gzip_is_a_damaged_blob(data: bytes) -> None:
    with pytest.raises(DigestError, match="damaged gzip data"):
        list(decompress(iter([data]), "gzip"))


def test_padding_fills_blocks() -> None:
    assert [padding(size) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]

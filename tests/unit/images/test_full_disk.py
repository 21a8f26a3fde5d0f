"""The image store's database on a full disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from podhost.errors import ExhaustedError
from podhost.images.load_sources import decompress_archive, find_compressed_archive
from podhost.images.metadata import Metadata


def test_a_failed_commit_is_rolled_back_and_the_next_one_works(tmp_path: Path) -> None:
    metadata = Metadata(tmp_path / "meta.db")
    try:
        pages = metadata._db.execute("PRAGMA page_count").fetchone()[0]
        metadata._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ExhaustedError, match="no space left on device"), metadata._transaction() as db:
            db.execute("INSERT INTO names VALUES (?, ?, 0)", ("x" * 100_000, "id"))
        metadata._db.execute("PRAGMA max_page_count = 10000")
        with metadata._transaction() as db:
            db.execute("INSERT INTO names VALUES (?, ?, 0)", ("y", "id"))
        assert metadata._db.execute("SELECT name FROM names").fetchall() == [("y",)]
    finally:
        metadata.close()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_docker_archives_are_recognised_and_opened(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    archive = tmp_path / "a.tar.z"
    archive.write_bytes(compress(b"a tar"))
    assert find_compressed_archive(f"docker-archive:{archive}:@0") == archive
    assert find_compressed_archive(f"oci-archive:{archive}") is None
    decompress_archive(archive, tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == b"a tar"
    assert find_compressed_archive(f"docker-archive:{tmp_path / 'plain'}") is None


def test_a_compressed_archive_cut_short_is_an_error(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(bytes(10_000))[:-6])
    with pytest.raises(EOFError):
        decompress_archive(archive, tmp_path / "plain")

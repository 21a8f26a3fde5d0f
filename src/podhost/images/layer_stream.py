"""The uncompressed bytes of a layer blob, with both digests checked on the way.

Reading, decompression and hashing run in one thread beside the writer: all of them release the GIL.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import queue
import threading
import zlib
from collections.abc import Iterator
from typing import Any


def _import_optional(name: str) -> Any:
    """A module that makes things quicker or possible, or ``None`` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_zlib = _import_optional("isal.isal_zlib") or zlib  # twice as quick
_zstandard = _import_optional("zstandard")

_READ_BYTES = 256 << 10
_CHUNK_BYTES = 1 << 20
_GZIP_WINDOW = 31


class DigestError(Exception):
    """A blob or its content is not what its digest says."""


class UnsupportedError(Exception):
    """The blob may be in order, but cannot be read here."""


class BlobReader:
    """Reads a file in pieces and hashes what it has read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hash = hashlib.sha256()

    def pieces(self) -> Iterator[bytes]:
        while data := os.read(self._fd, _READ_BYTES):
            self._hash.update(data)
            yield data

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def decompress(pieces: Iterator[bytes], compression: str) -> Iterator[bytes]:
    """Uncompressed pieces.

    Raises:
        DigestError: The compressed data is damaged.
    """
    if compression == "none":
        return pieces
    if compression == "gzip":
        return _gunzip(pieces)
    if compression == "zstd":
        return _unzstd(pieces)
    raise ValueError(f"unknown compression {compression!r}")


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    decoder: Any = None
    try:
        for data in pieces:
            rest = data
            while rest:
                if decoder is None:
                    # Members may follow each other, and zero bytes may pad the end.
                    rest = rest.lstrip(b"\0")
                    if not rest:
                        break
                    decoder = _zlib.decompressobj(_GZIP_WINDOW)
                if plain := decoder.decompress(rest, _CHUNK_BYTES):
                    yield plain
                rest = decoder.unconsumed_tail
                if decoder.eof:
                    rest = decoder.unused_data
                    decoder = None
    except _zlib.error as error:
        raise DigestError(f"damaged gzip data: {error}") from error
    if decoder is not None:
        raise DigestError("damaged gzip data: unexpected end")


class _PieceFile:
    """Pieces as a file object, for decoders that read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int = -1) -> bytes:
        """The next piece, of whatever size it has: ``size`` is only a hint here, as zstandard allows."""
        return next(self._pieces, b"")


def _unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    if _zstandard is None:
        raise UnsupportedError("zstd-compressed layers need the Python package zstandard")
    decoder = _zstandard.ZstdDecompressor(max_window_size=128 << 20)
    try:
        with decoder.stream_reader(_PieceFile(pieces), read_across_frames=True) as reader:
            while plain := reader.read(_CHUNK_BYTES):
                yield plain
    except _zstandard.ZstdError as error:
        raise DigestError(f"damaged zstd data: {error}") from error


class LayerStream:
    """Iterates a layer's tar in a background thread; call it for the next piece, ``b""`` at the end."""

    def __init__(self, blob_fd: int, compression: str) -> None:
        self._reader = BlobReader(blob_fd)
        self._compression = compression
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(maxsize=8)
        self._ended = False
        threading.Thread(target=self._run, name="decompress", daemon=True).start()

    def __call__(self) -> bytes:
        if self._ended:
            return b""
        item = self._queue.get()
        self._ended = not item if isinstance(item, bytes) else True
        if isinstance(item, BaseException):
            raise item
        return item

    def _run(self) -> None:
        try:
            batch: list[bytes] = []
            pending = 0
            for plain in decompress(self._reader.pieces(), self._compression):
                self._hash.update(plain)
                batch.append(plain)
                pending += len(plain)
                if pending >= _CHUNK_BYTES:
                    self._queue.put(b"".join(batch) if len(batch) > 1 else batch[0])
                    batch, pending = [], 0
            if batch:
                self._queue.put(b"".join(batch))
            self._queue.put(b"")
        except BaseException as error:
            self._queue.put(error)

    def check(self, blob_digest: str, diff_id: str) -> None:
        """After the end of the stream.  Raises DigestError."""
        if self._reader.digest() != blob_digest:
            raise DigestError(f"blob {blob_digest} is damaged: its digest is {self._reader.digest()}")
        found = "sha256:" + self._hash.hexdigest()
        if found != diff_id:
            raise DigestError(f"layer {blob_digest} does not match its diff id: want {diff_id}, found {found}")

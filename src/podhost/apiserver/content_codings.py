"""``Content-Encoding``, undone and done again while a body passes.  Pure: bytes in, bytes out, bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_PIECE_BYTES = 16 << 10
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class CodingError(Exception):
    """The body is not what its ``Content-Encoding`` says."""


class Coding:
    """One body's coding: ``gzip``, ``deflate`` (with zlib's frame or without), or none (``""``, ``identity``)."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._window = _GZIP
        self._inflate = zlib.decompressobj(_GZIP)
        self._deflate = zlib.compressobj(wbits=_GZIP)
        self._is_open = False
        self._is_over = False

    @classmethod
    def find(cls, content_encoding: str) -> Coding | None:
        """``None`` for codings that are not known, and for several at once."""
        name = content_encoding.strip().lower()
        return cls(name) if name in ("", "identity", "gzip", "x-gzip", "deflate") else None

    @property
    def is_identity(self) -> bool:
        return self._name in ("", "identity")

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The content, in pieces of bounded size.  Raises CodingError."""
        if self.is_identity:
            yield from (data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES))
            return
        if not data or self._is_over:
            return
        if not self._is_open:
            self._begin(data)
        try:
            yield from self._inflate_all(data)
        except zlib.error as error:
            raise CodingError(f"cannot read the body as {self._name}: {error}") from error

    def _inflate_all(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._inflate.decompress(data, _PIECE_BYTES)
            data = self._inflate.unconsumed_tail
            if piece:
                yield piece
            if self._inflate.eof:
                self._is_open = False
                data = self._inflate.unused_data
                if self._window != _GZIP:
                    self._is_over = True
                    return
                # A gzip body may have several parts.
                self._inflate = zlib.decompressobj(_GZIP)
                self._is_open = bool(data)
            # A full piece: zlib may hold back more of what it has read.
            if not data and len(piece) < _PIECE_BYTES:
                return

    def encode(self, content: bytes) -> bytes:
        """So that the client can read all of it at once."""
        if self.is_identity or not content:
            return content
        return self._deflate.compress(content) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        """The last bytes of the coded body.  Raises CodingError: the one that was read has no end."""
        if self._is_open:
            raise CodingError(f"cannot read the body as {self._name}: it ends too early")
        return b"" if self.is_identity else self._deflate.flush()

    def _begin(self, data: bytes) -> None:
        self._is_open = True
        if self._name == "deflate":
            # By the standard it has zlib's frame; Go's servers and some others leave it out, and no such body begins
            # with this byte.
            self._window = _ZLIB if data[0] & 0x0F == 8 else _RAW
            self._inflate = zlib.decompressobj(self._window)
            self._deflate = zlib.compressobj(wbits=self._window)

"""Header blocks of SPDY/3: name and value pairs, compressed with a dictionary that both sides know."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

MAX_BLOCK_BYTES = 1 << 16
"""Of a block, compressed or not."""

_WORDS = (
    "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,"
    "age,allow,authorization,cache-control,connection,content-base,content-encoding,content-language,"
    "content-length,content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,"
    "host,if-match,if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,"
    "max-forwards,pragma,proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,"
    "transfer-encoding,upgrade,user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,"
    "HTTP/1.1,url,public,set-cookie,keep-alive,origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
_WINDOW_BITS, _MEMORY_LEVEL = 11, 1
"""The dictionary and a few short blocks need no more; zlib's defaults would cost 256 KiB a connection."""


class HeaderBlockError(ValueError):
    """A header block cannot be read."""


def _build_dictionary() -> bytes:
    words = [word.encode() for word in _WORDS.split(",")]
    return b"".join(struct.pack("!I", len(word)) + word for word in words) + _TAIL.encode()


DICTIONARY = _build_dictionary()


class HeaderEncoder:
    """Compresses the blocks of one direction; their order matters."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(9, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zdict=DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack("!I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower(), value):
                data = text.encode("latin-1")
                parts += [struct.pack("!I", len(data)), data]
        return self._zlib.compress(b"".join(parts)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecoder:
    """Unpacks the blocks of one direction; every block must be given, in order."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def decode(self, block: bytes) -> dict[str, str]:
        """Names in lower case.  Several values of one name are joined by NUL.  Raises HeaderBlockError."""
        try:
            data = self._zlib.decompress(block, MAX_BLOCK_BYTES + 1)
        except zlib.error as error:
            raise HeaderBlockError(f"cannot unpack a header block: {error}") from error
        if len(data) > MAX_BLOCK_BYTES or self._zlib.unconsumed_tail:
            raise HeaderBlockError(f"a header block is more than {MAX_BLOCK_BYTES} bytes")
        if self._zlib.eof:
            raise HeaderBlockError("a header block ends the compressed stream")
        return _parse_pairs(data)


def _parse_pairs(data: bytes) -> dict[str, str]:
    texts: list[str] = []
    try:
        (count,) = struct.unpack_from("!I", data)
        at = 4
        while at < len(data):
            (length,) = struct.unpack_from("!I", data, at)
            at += 4
            if at + length > len(data):
                raise HeaderBlockError("a header block is cut short")
            texts.append(data[at : at + length].decode("latin-1"))
            at += length
    except struct.error as error:
        raise HeaderBlockError("a header block is cut short") from error
    if len(texts) != 2 * count:
        raise HeaderBlockError(f"a header block has {len(texts)} texts for {count} headers")
    names = [name.lower() for name in texts[::2]]
    headers = dict(zip(names, texts[1::2], strict=True))
    if len(headers) != count:
        raise HeaderBlockError("a header block names a header twice")
    return headers

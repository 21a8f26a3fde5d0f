"""Large documents that never change: kept compressed, and sent once to a client that keeps what it has."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass

from aiohttp import web

from podhost.apiserver.call import Call


@dataclass(frozen=True, slots=True)
class StaticDocument:
    """One document; ``compressed`` with gzip."""

    compressed: bytes
    etag: str
    content_type: str

    def answer(self, call: Call) -> web.Response:
        headers = {"ETag": self.etag, "Vary": "Accept-Encoding, Accept", "Cache-Control": "no-cache, private"}
        if call.request.headers.get("If-None-Match", "") == self.etag:
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = self.content_type
        if "gzip" in call.request.headers.get("Accept-Encoding", ""):
            return web.Response(body=self.compressed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=gzip.decompress(self.compressed), headers=headers)


def build_static_document(body: bytes, content_type: str = "application/json") -> StaticDocument:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
    return StaticDocument(gzip.compress(body, 6, mtime=0), etag, content_type)

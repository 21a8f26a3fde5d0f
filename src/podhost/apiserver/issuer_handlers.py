"""What others need to check ServiceAccount tokens themselves (OpenID Connect discovery)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from aiohttp import web

from podhost.apiserver import answers
from podhost.apiserver.account_tokens import AccountTokens, build_discovery
from podhost.apiserver.call import Call
from podhost.apiserver.settings import ApiServerSettings


class IssuerHandlers:
    """Answers are the same for the life of the server."""

    def __init__(self, tokens: AccountTokens, settings: ApiServerSettings) -> None:
        self._tokens = tokens
        self._server = f"https://{next(iter(settings.server_addresses), 'localhost')}"

    async def discovery(self, call: Call) -> web.StreamResponse:
        return answers.answer_json(build_discovery(self._server))

    @cached_property
    def _keys(self) -> dict[str, Any]:
        return self._tokens.build_key_set()

    async def keys(self, call: Call) -> web.StreamResponse:
        return answers.answer_json(self._keys, content_type="application/jwk-set+json")

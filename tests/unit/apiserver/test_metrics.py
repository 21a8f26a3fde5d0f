"""Names of verbs in metrics."""

from __future__ import annotations

import pytest
from aiohttp import web

from podhost.api.kinds import POD
from podhost.apiserver.call import Call
from podhost.apiserver.metrics import compute_verb
from podhost.apiserver.routing import Route


async def handler(_: Call) -> web.StreamResponse:
    raise NotImplementedError


def route(verb: str, subresource: str = "") -> Route:
    return Route(method="GET", pattern="/", verb=verb, handler=handler, kind=POD, subresource=subresource)


@pytest.mark.parametrize(
    ("method", "route", "watching", "applying", "verb"),
    [
        ("GET", None, False, False, "GET"),
        ("GET", route("get"), False, False, "GET"),
        ("GET", route("list"), False, False, "LIST"),
        ("GET", route("list"), True, False, "WATCH"),
        ("PATCH", route("patch"), False, True, "APPLY"),
        ("DELETE", route("deletecollection"), False, False, "DELETECOLLECTION"),
        ("POST", route("create", "exec"), False, False, "CONNECT"),
    ],
)
def test_verbs(method: str, route: Route | None, watching: bool, applying: bool, verb: str) -> None:
    assert compute_verb(method, route, watching=watching, applying=applying) == verb

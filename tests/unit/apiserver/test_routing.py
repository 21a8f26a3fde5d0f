"""Routes are found by their segments."""

from __future__ import annotations

import pytest
from aiohttp import web

from podhost.api.errors import ApiError
from podhost.apiserver.call import Call
from podhost.apiserver.routing import Route, Router


async def handler(call: Call) -> web.StreamResponse:
    raise NotImplementedError


def route(method: str, pattern: str) -> Route:
    return Route(method=method, pattern=pattern, verb="get", handler=handler)


ROUTER = Router(
    [
        route("GET", "/"),
        route("GET", "/api/v1/namespaces/{name}"),
        route("GET", "/api/v1/namespaces/{name}/status"),
        route("GET", "/api/v1/namespaces/{namespace}/pods"),
        route("GET", "/api/v1/namespaces/{namespace}/pods/{name}"),
        route("GET", "/images/{ref}"),
        route("POST", "/images/pull"),
        route("GET", "/api/v1/namespaces/{namespace}/pods/{name}/proxy/*"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "pattern", "params"),
    [
        ("GET", "/", "/", {}),
        ("GET", "/api/v1/namespaces/x", "/api/v1/namespaces/{name}", {"name": "x"}),
        ("GET", "/api/v1/namespaces/x/status", "/api/v1/namespaces/{name}/status", {"name": "x"}),
        ("GET", "/api/v1/namespaces/x/pods/", "/api/v1/namespaces/{namespace}/pods", {"namespace": "x"}),
        (
            "GET",
            "/api/v1/namespaces/x/pods/y",
            "/api/v1/namespaces/{namespace}/pods/{name}",
            {"namespace": "x", "name": "y"},
        ),
        *(
            (
                "GET",
                "/api/v1/namespaces/x/pods/https%3Ay:1/proxy" + rest,
                "/api/v1/namespaces/{namespace}/pods/{name}/proxy/*",
                {"namespace": "x", "name": "https:y:1"},
            )
            for rest in ("", "/", "/a/b%2Fc", "/api/v1")
        ),
        ("POST", "/images/pull", "/images/pull", {}),
        ("GET", "/images/pull", "/images/{ref}", {"ref": "pull"}),
        ("HEAD", "/images/a", "/images/{ref}", {"ref": "a"}),
        (
            "GET",
            "/images/docker.io%2Flibrary%2Fnginx%3Alatest",
            "/images/{ref}",
            {"ref": "docker.io/library/nginx:latest"},
        ),
    ],
)
def test_path_leads_to_its_route(method: str, path: str, pattern: str, params: dict[str, str]) -> None:
    found, values = ROUTER.resolve(method, path)
    assert (found.pattern, values) == (pattern, params)


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/namespaces/x/y/z/z", "/images"])
def test_unknown_path_is_not_found(path: str) -> None:
    with pytest.raises(ApiError, match="could not find the requested resource"):
        ROUTER.resolve("GET", path)


def test_known_path_without_the_method_says_so() -> None:
    with pytest.raises(ApiError, match="does not allow this method") as caught:
        ROUTER.resolve("DELETE", "/images/x")
    assert caught.value.code == 405


def test_two_routes_for_one_thing_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two routes"):
        Router([route("GET", "/a/{x}"), route("GET", "/a/{y}")])

"""Finds the route of a request.  Routes are data; patterns look like ``/api/v1/pods/{name}``.

``/*`` at the end of one means it and everything below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp import web

from podhost.api import errors

if TYPE_CHECKING:
    from podhost.api.kind import Kind
    from podhost.apiserver.call import Call


class Access(Enum):
    """Who may use a route."""

    PUBLIC = "public"
    """Anyone, also without credentials: health and version."""
    GRANTED = "granted"
    """Those to whom a role gives it."""


Handler = Callable[["Call"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path."""

    method: str
    pattern: str
    verb: str
    """Kubernetes' word for it: ``get``, ``list``, ``watch``, ``create``…"""
    handler: Handler
    access: Access = Access.GRANTED
    kind: Kind | None = None
    subresource: str = ""


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    placeholder: _Node | None = None
    routes: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)
    takes_rest: bool = False
    """Whether its routes also serve everything below."""


class Router:
    """A tree of path segments.  Literal segments win over placeholders, longer patterns over ``/*`` at the end."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._add(route)

    def resolve(self, method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
        """The route and its parameters, unquoted.

        Raises:
            ApiError: 404 for an unknown path, 405 for a method that a known path does not have.
        """
        segments = [unquote(part) for part in raw_path.split("/") if part]
        path_known = False
        for node, values in _walk(self._root, segments, 0, ()):
            path_known = True
            found = node.routes.get(method) or (node.routes.get("GET") if method == "HEAD" else None)
            if found is not None:
                route, names = found
                return route, dict(zip(names, values, strict=True))
        raise errors.http_method_not_allowed() if path_known else errors.path_not_found()

    def _add(self, route: Route) -> None:
        node = self._root
        names = []
        for part in route.pattern.split("/"):
            if not part:
                continue
            if part == "*":
                node.takes_rest = True
            elif part.startswith("{"):
                names.append(part[1:-1])
                node.placeholder = node = node.placeholder or _Node()
            else:
                node = node.literals.setdefault(part, _Node())
        if route.method in node.routes:
            raise ValueError(f"two routes for {route.method} {route.pattern}")
        node.routes[route.method] = (route, tuple(names))


def _walk(
    node: _Node, segments: list[str], at: int, values: tuple[str, ...]
) -> Iterator[tuple[_Node, tuple[str, ...]]]:
    if at == len(segments):
        if node.routes:
            yield node, values
        return
    literal = node.literals.get(segments[at])
    if literal is not None:
        yield from _walk(literal, segments, at + 1, values)
    if node.placeholder is not None:
        yield from _walk(node.placeholder, segments, at + 1, (*values, segments[at]))
    if node.takes_rest:
        yield node, values

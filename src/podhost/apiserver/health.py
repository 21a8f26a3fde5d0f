"""``/healthz``, ``/livez``, ``/readyz`` and their checks, in kube-apiserver's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from podhost.api import errors
from podhost.apiserver.call import Call
from podhost.apiserver.routing import Access, Route

Check = Callable[[], bool]
"""True: all is well."""


def build_report(endpoint: str, checks: Mapping[str, Check], excluded: Sequence[str]) -> tuple[bool, str]:
    """Whether all is well, and the lines of ``?verbose``."""
    lines, healthy = [], True
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif check():
            lines.append(f"[+]{name} ok")
        else:
            healthy = False
            lines.append(f"[-]{name} failed: reason withheld")
    unknown = [name for name in excluded if name not in checks]
    if unknown:
        listed = ", ".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
    lines.append(f"{endpoint} check {'passed' if healthy else 'failed'}")
    return healthy, "\n".join(lines) + "\n"


class HealthHandlers:
    """Says whether the server works.  Anyone may ask."""

    def __init__(self, is_store_well: Check, is_shutting_down: Check) -> None:
        # The store under the name that monitors ask for.
        alive: dict[str, Check] = {"ping": lambda: True, "log": lambda: True, "etcd": is_store_well}
        ready: dict[str, Check] = {**alive, "shutdown": lambda: not is_shutting_down()}
        self._endpoints = {"healthz": alive, "livez": alive, "readyz": ready}

    def build_routes(self) -> list[Route]:
        return [
            Route(method="GET", pattern=pattern, verb="get", handler=handler, access=Access.PUBLIC)
            for endpoint in self._endpoints
            for pattern, handler in ((f"/{endpoint}", self.report), (f"/{endpoint}/{{check}}", self.check))
        ]

    async def report(self, call: Call) -> web.StreamResponse:
        endpoint = call.request.path.strip("/")
        healthy, lines = build_report(endpoint, self._endpoints[endpoint], call.request.query.getall("exclude", []))
        return _answer(healthy, lines if "verbose" in call.request.query or not healthy else "ok")

    async def check(self, call: Call) -> web.StreamResponse:
        endpoint = call.request.path.strip("/").partition("/")[0]
        check = self._endpoints[endpoint].get(call.params["check"])
        if check is None:
            raise errors.path_not_found()
        healthy = check()
        return _answer(healthy, "ok" if healthy else "internal server error: reason withheld\n")


def _answer(healthy: bool, text: str) -> web.Response:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache, private"}
    return web.Response(text=text, status=200 if healthy else 500, headers=headers)

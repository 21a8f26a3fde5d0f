"""Requests to an API server under test, as plain HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

CM = "/api/v1/namespaces/default/configmaps"


PODS = "/api/v1/namespaces/default/pods"


OWN = "/apis/podhost.dev/v1alpha1"


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def config(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}}


def pod(name: str = "one") -> dict[str, Any]:
    containers = [{"name": "c", "image": "nginx"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers}}


async def make(http: aiohttp.ClientSession, path: str, body: Any) -> dict[str, Any]:
    async with http.post(path, json=body) as response:
        assert response.status == 201, await response.text()
        return await response.json()  # type: ignore[no-any-return]


async def fails(http: aiohttp.ClientSession, code: int, method: str, path: str, **options: Any) -> dict[str, Any]:
    async with http.request(method, path, **options) as response:
        status = await response.json()
        assert (response.status, status["kind"], status["code"]) == (code, "Status", code), status
        return status  # type: ignore[no-any-return]


class Watcher:
    """Reads events of a watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(5):
            line = await self.response.content.readline()
        event = json.loads(line)
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        events = [await self.next() for _ in range(count)]
        return [(kind, obj["metadata"].get("name", "")) for kind, obj in events]


def watch(http: aiohttp.ClientSession, path: str, query: str = "", **options: Any) -> Any:
    return http.get(f"{path}?watch=1&{query}", timeout=aiohttp.ClientTimeout(total=None), **options)

"""Stores under test, and what is put into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from podhost.aiokit.clock import FakeClock
from podhost.store import ObjectKey, Store, WatchEvent

KEY = ObjectKey("pods", "ns", "a")


def pod(name: str = "a", namespace: str = "ns", **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}, **fields}


def reopen(store: Store, path: Path, **options: Any) -> Store:
    store.close()
    return Store(path, FakeClock(), **options)


async def drain(store: Store, resource: str, since_rv: int, namespace: str | None = None) -> list[WatchEvent]:
    watch = store.watch(resource, namespace, since_rv)
    events: list[WatchEvent] = []
    store.create(ObjectKey(resource, namespace or "ns", "sentinel"), pod("sentinel", namespace or "ns"))
    async for event in watch:
        if event.object["metadata"]["name"] == "sentinel":
            break
        events.append(event)
    watch.close()
    return events

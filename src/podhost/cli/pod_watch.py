"""Watch objects from threads into one queue, over broken connections and expired versions."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from podhost.client import ApiClient, ApiStatusError
from podhost.errors import PodhostError, UnavailableError

_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it is now, or its end."""

    kind: str
    object: dict[str, Any]
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A watch cannot go on."""

    error: PodhostError


@dataclass(slots=True)
class Watcher:
    """Lists, then watches; starts again by itself.  ``stop`` lets the threads end with the process."""

    client: ApiClient
    inbox: queue.SimpleQueue[object]
    stopped: threading.Event = field(default_factory=threading.Event)

    def start(self, kind: str, path: str, **query: str | None) -> None:
        """Everything of a collection, or what ``labelSelector`` and ``fieldSelector`` choose."""
        threading.Thread(target=self._run, args=(kind, path, query), name=f"watch-{kind}", daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()

    def _run(self, kind: str, path: str, query: Mapping[str, str | None]) -> None:
        known: dict[str, dict[str, Any]] = {}
        failures = 0
        while not self.stopped.is_set():
            try:
                for seen in self._observe(kind, path, query, known):
                    failures = 0
                    if self.stopped.is_set():
                        return
                    self.inbox.put(seen)
            except ApiStatusError as error:
                if error.code != 410:
                    self.inbox.put(Lost(error))
                    return
            except UnavailableError as error:
                # The daemon may be on its way through a restart; its containers go on.
                failures += 1
                if failures > 20:
                    self.inbox.put(Lost(error))
                    return
                time.sleep(_RETRY_S)
            except PodhostError as error:
                self.inbox.put(Lost(error))
                return

    def _observe(
        self, kind: str, path: str, query: Mapping[str, str | None], known: dict[str, dict[str, Any]]
    ) -> Iterator[Seen]:
        listed = self.client.list(path, **query)
        here = {str(item["metadata"]["uid"]): item for item in listed["items"]}
        for uid in [uid for uid in known if uid not in here]:
            yield Seen(kind, known.pop(uid), deleted=True)
        for uid, item in here.items():
            known[uid] = item
            yield Seen(kind, item)
        version = listed["metadata"]["resourceVersion"]
        for event in self.client.watch(path, resourceVersion=version, allowWatchBookmarks=True, **query):
            item = event.get("object") or {}
            uid = str((item.get("metadata") or {}).get("uid", ""))
            if event.get("type") == "DELETED":
                known.pop(uid, None)
                yield Seen(kind, item, deleted=True)
            elif event.get("type") in ("ADDED", "MODIFIED"):
                known[uid] = item
                yield Seen(kind, item)


def wait_gone(client: ApiClient, collection: str, name: str, uid: str, *, timeout_s: float) -> bool:
    """Wait until the object of that uid has disappeared; False when it is still there after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    selector = f"metadata.name={name}"

    def observe() -> None:
        try:
            listed = client.get(collection, fieldSelector=selector)
            if not any(item["metadata"]["uid"] == uid for item in listed.get("items") or []):
                inbox.put(True)
                return
            version = listed["metadata"]["resourceVersion"]
            for event in client.watch(collection, fieldSelector=selector, resourceVersion=version):
                if event["type"] == "DELETED" and event["object"]["metadata"]["uid"] == uid:
                    inbox.put(True)
                    return
            inbox.put(None)
        except PodhostError as error:
            inbox.put(error)

    while (left := deadline - time.monotonic()) > 0:
        threading.Thread(target=observe, name=f"gone-{name}", daemon=True).start()
        try:
            answer = inbox.get(timeout=left)
        except queue.Empty:
            return False
        if answer is True:
            return True
        if isinstance(answer, PodhostError) and not (isinstance(answer, ApiStatusError) and answer.code == 410):
            raise answer
    return False

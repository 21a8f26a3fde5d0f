"""The pods that an ``up`` is about, as watches, events and pulls have shown them last."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from podhost.api.objects import is_terminal
from podhost.cli.pod_watch import Lost, Seen, Watcher
from podhost.cli.session import OWN_API
from podhost.cli.verdict import Verdict, compute_verdict
from podhost.client import ApiClient, resource_path
from podhost.errors import PodhostError


@dataclass(frozen=True, slots=True)
class PullSeen:
    """State of a pull on the server's machine."""

    progress: dict[str, Any]


@dataclass(slots=True)
class TrackedPod:
    """A pod that is waited for."""

    object: dict[str, Any]
    verdict: Verdict | None = None
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    gone: bool = False
    told: str = ""
    """What the person has been told of it last."""
    hinted: set[str] = field(default_factory=set)
    """Next steps that the person has been told."""
    settled_s: float | None = None
    """How long it took until it was ready or had failed."""

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"]["namespace"])

    @property
    def has_ended(self) -> bool:
        return self.gone or is_terminal(self.object)

    def ordered_events(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return sorted(self.events.values(), key=lambda event: int(event["metadata"].get("resourceVersion") or 0))

    def judge(self) -> Verdict:
        self.verdict = compute_verdict(self.object, self.ordered_events())
        return self.verdict


class TrackedPods:
    """Takes what the threads have seen.  ``inbox`` is theirs; log lines may come through it too."""

    def __init__(self, client: ApiClient, pods: Sequence[dict[str, Any]], *, with_pulls: bool) -> None:
        self.client = client
        self.inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.by_uid = {str(pod["metadata"]["uid"]): TrackedPod(pod) for pod in pods}
        self.pulls: dict[str, dict[str, Any]] = {}
        self.started = time.monotonic()
        self._watcher = Watcher(client, self.inbox)
        self._wants_pulls = with_pulls

    @property
    def pods(self) -> list[TrackedPod]:
        return list(self.by_uid.values())

    def start(self) -> None:
        for namespace in sorted({pod.namespace for pod in self.pods}):
            self._watcher.start("Pod", resource_path("v1", "pods", namespace=namespace))
            self._watcher.start("Event", resource_path("v1", "events", namespace=namespace))

    def stop(self) -> None:
        self._watcher.stop()

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def take(self, item: object) -> None:
        """Raises PodhostError when a watch cannot go on."""
        if isinstance(item, Lost):
            raise item.error
        if isinstance(item, PullSeen):
            self.pulls[str(item.progress.get("ref"))] = item.progress
        elif isinstance(item, Seen) and item.kind == "Pod":
            pod = self.by_uid.get(str(item.object["metadata"]["uid"]))
            if pod is not None:
                pod.object, pod.gone = item.object, item.deleted
        elif isinstance(item, Seen) and item.kind == "Event":
            pod = self.by_uid.get(str((item.object.get("involvedObject") or {}).get("uid", "")))
            if pod is not None:
                pod.events[str(item.object["metadata"]["name"])] = item.object
                if item.object.get("reason") == "Pulling" and self._wants_pulls:
                    self._wants_pulls = False
                    threading.Thread(target=self._read_pulls, name="pulls", daemon=True).start()

    def _read_pulls(self) -> None:
        """Until the process ends or nobody waits any more.  A server that shows no pulls just has no bar."""
        try:
            for line in self.client.stream_lines("GET", f"{OWN_API}/pulls"):
                if self._watcher.stopped.is_set():
                    return
                self.inbox.put(PullSeen(json.loads(line)["progress"]))
        except PodhostError:
            return

"""A whole kubelet on fakes, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.cri_fakes import FakeImages, FakeRuntime, FakeVolumes
from harness.handler_fakes import FakeHandlers
from podhost.aiokit.clock import FakeClock
from podhost.api.time import format_time
from podhost.kubelet.kubelet import Kubelet
from podhost.kubelet.settings import KubeletSettings
from podhost.store.keys import ObjectKey
from podhost.store.store import Store


def make_pod(name: str = "web", *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod as the API server stores it, bound to node ``n1``."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "generation": 1,
            "creationTimestamp": "2026-11-23T16:00:00Z",
        },
        "spec": {
            "nodeName": "n1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "containers": [
                {"imagePullPolicy": "IfNotPresent", "image": "nginx:1", **c}
                for c in (containers or ({"name": "main"},))
            ],
            **spec,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


@dataclass
class EventLog:
    """Records events; the real recorder is tested with the store."""

    seen: list[tuple[str, str]] = field(default_factory=list)
    annotations: list[dict[str, str]] = field(default_factory=list)
    """Of each of them."""

    def event(
        self,
        involved: dict[str, Any],
        type: str,
        reason: str,
        message: str,
        *,
        field_path: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.seen.append((reason, message))
        self.annotations.append(dict(annotations or {}))


@dataclass
class Rig:
    """The kubelet and everything around it."""

    store: Store
    clock: FakeClock
    runtime: FakeRuntime
    images: FakeImages
    volumes: FakeVolumes
    settings: KubeletSettings
    kubelet: Kubelet
    recorder: EventLog
    handlers: FakeHandlers = field(default_factory=FakeHandlers)
    versions: list[dict[str, Any]] = field(default_factory=list)

    async def start(self) -> None:
        """Start the kubelet with probes and hooks that do as the test says."""
        self.kubelet.context.handlers.close()
        self.kubelet.context.handlers = self.handlers
        await self.kubelet.start()

    async def restart(self) -> None:
        """A new kubelet takes over."""
        await self.kubelet.stop()
        self.kubelet = Kubelet(
            self.settings, self.store, self.runtime, self.images, self.volumes, self.recorder, self.clock
        )
        await self.start()

    def create(self, pod: dict[str, Any]) -> None:
        self.store.create(self.key(pod["metadata"]["name"]), pod)

    @staticmethod
    def key(name: str) -> ObjectKey:
        return ObjectKey("pods", "default", name)

    def delete(self, name: str, grace_s: int = 30) -> None:
        """As the API server does it for a graceful deletion."""

        def mark(pod: dict[str, Any]) -> dict[str, Any]:
            pod["metadata"]["deletionTimestamp"] = format_time(self.clock.now_ns() + grace_s * 10**9)
            pod["metadata"]["deletionGracePeriodSeconds"] = grace_s
            return pod

        self.store.mutate(self.key(name), mark)

    def pod(self, name: str = "web") -> dict[str, Any] | None:
        return self.store.find(self.key(name))

    def status(self, name: str = "web") -> dict[str, Any]:
        pod = self.pod(name)
        assert pod is not None
        status: dict[str, Any] = pod["status"]
        return status

    def container(self, container: str = "main", name: str = "web") -> dict[str, Any]:
        status = self.status(name)
        entries = [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
        found: dict[str, Any] = next(e for e in entries if e["name"] == container)
        return found

    def events(self) -> list[tuple[str, str]]:
        return self.recorder.seen

    def phases(self, name: str = "web") -> list[str]:
        """Phases in the order in which they were written, repetitions left out."""
        phases: list[str] = []
        for pod in self.versions:
            phase = pod["status"]["phase"]
            if pod["metadata"]["name"] == name and (not phases or phases[-1] != phase):
                phases.append(phase)
        return phases

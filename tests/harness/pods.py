"""What the API says about a pod's troubles, as tests compare it; and an image small enough to travel often."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from harness.daemon import Daemon, wait_until

_CATATONIT_PLACES = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit")


def find_events(daemon: Daemon, namespace: str, name: str) -> list[tuple[str, str, str]]:
    """(type, reason, message) of the events of one object, oldest first."""
    items = daemon.get(f"/api/v1/namespaces/{namespace}/events")["items"]
    mine = [item for item in items if item["involvedObject"]["name"] == name]
    mine.sort(key=lambda item: (item.get("firstTimestamp") or "", int(item["metadata"]["resourceVersion"])))
    return [(item["type"], item["reason"], item["message"]) for item in mine]


def wait_for_event(daemon: Daemon, namespace: str, name: str, reason: str, *words: str) -> str:
    """Message of the first event with this reason and these words."""

    def find() -> str:
        events = find_events(daemon, namespace, name)
        return next((m for _, r, m in events if r == reason and all(word in m for word in words)), "")

    try:
        message: str = wait_until(find, what=f"event {reason} {words} of {name}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {find_events(daemon, namespace, name)}\n{daemon.log_tail()}") from None
    return message


def container_status(daemon: Daemon, namespace: str, name: str, container: str = "c") -> dict[str, Any]:
    """The entry of one container; empty while there is none."""
    status = daemon.pod(name, namespace).get("status") or {}
    entries: list[dict[str, Any]] = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return next((entry for entry in entries if entry["name"] == container), {})


def wait_for_waiting(
    daemon: Daemon, namespace: str, name: str, reason: str, container: str = "c", *, timeout_s: float = 30
) -> str:
    """Until the container waits for this reason; the message of its status."""

    def find() -> dict[str, Any] | None:
        state: dict[str, Any] = container_status(daemon, namespace, name, container).get("state") or {}
        waiting: dict[str, Any] = state.get("waiting") or {}
        return waiting if waiting.get("reason") == reason else None

    waiting = wait_until(find, timeout_s=timeout_s, what=f"{name}/{container} to wait for {reason}")
    return str(waiting.get("message", ""))


def build_pod(name: str, image: str, *command: str, **spec: Any) -> str:
    """A manifest with one container ``c``; ``spec`` is added to the pod's."""
    container: dict[str, Any] = {"name": "c", "image": image}
    if command:
        container["command"] = list(command)
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }
    return json.dumps(document)


def build_pause_layer() -> bytes:
    """Tar with one static program, ``/pause``, which waits for signals."""
    found = next((place for place in _CATATONIT_PLACES if Path(place).exists()), None) or shutil.which("catatonit")
    assert found is not None, "the package catatonit is not installed"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("pause")
        data = Path(found).read_bytes()
        info.size, info.mode = len(data), 0o755
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


PAUSE_CONFIG = {"Entrypoint": ["/pause", "-P"]}


def list_unfinished(image_store: Path) -> list[str]:
    """What work in progress has left in an image store, and layers without their mark of completion."""
    staged = [str(path) for path in (image_store / "staging").iterdir()]
    partial = [str(path) for path in (image_store / "snapshots").iterdir() if not (path / "meta.json").exists()]
    blobs = [str(path) for path in (image_store / "content" / "blobs").rglob("*") if "oci-put-blob" in path.name]
    return staged + partial + blobs

"""A host that gives podhost no control of processors and memory: pods run without such limits, and it is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon
from harness.pods import build_pod, container_status, find_events, wait_for_event
from podhost.linux import cgroup

_SURROUNDINGS = 'umount /sys/fs/cgroup/cpu /sys/fs/cgroup/memory && exec "$@"'
_SIZES = {"cpu": "100m", "memory": "64Mi"}


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    if cgroup.detect().version == 2:
        pytest.skip("with version 2, scripts/test-cgroup-v2 looks at this")
    with running_daemon(image_store, wrapper=("unshare", "--mount", "sh", "-c", _SURROUNDINGS, "sh")) as running:
        yield running


def test_pods_run_without_limits_and_it_is_said(daemon: Daemon, namespace: str) -> None:
    document = json.loads(build_pod("free", "debian", "sleep", "1000"))
    document["spec"]["containers"][0]["resources"] = {"limits": _SIZES}
    daemon.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(document))
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/free", "--timeout=60s")
    said = [message for _, reason, message in find_events(daemon, namespace, "free") if reason == "FieldNotHonoured"]
    assert said == [
        f"spec.containers[0].resources.limits.{name}: not enforced: "
        f"this host does not delegate the cgroup controller {name}"
        for name in ("cpu", "memory")
    ]
    assert "containers run without limits of cpu, memory: this host does not allow them" in daemon.log_path.read_text()

    # Where the hierarchies are that the daemon does not see, nothing was made.
    identity = container_status(daemon, namespace, "free")["containerID"].removeprefix("podhost://")
    place = Path("/sys/fs/cgroup")
    assert not (place / "memory/podhost" / daemon.instance).exists()
    assert list((place / "pids/podhost" / daemon.instance).rglob(identity))

    more = {"cpu": "200m", "memory": "96Mi"}
    patch = {"spec": {"containers": [{"name": "c", "resources": {"limits": more, "requests": more}}]}}
    words = ("patch", "pod", "free", "--subresource", "resize", "-p", json.dumps(patch))
    daemon.kubectl("-n", namespace, *words)
    wait_for_event(daemon, namespace, "free", "ResizeCompleted")
    daemon.kubectl("-n", namespace, "exec", "free", "--", "true")
    assert "cannot" not in daemon.log_path.read_text()
    daemon.kubectl("-n", namespace, "delete", "pod", "free", "--timeout=30s")

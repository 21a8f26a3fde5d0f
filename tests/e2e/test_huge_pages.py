"""Huge pages: capacity of the node, limits of a container, a volume made of them, and no room without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon
from harness.pods import build_pod, wait_for_event

_RESERVE = Path("/proc/sys/vm/nr_hugepages")
_PAGES = 4


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    before = int(_RESERVE.read_text())
    _RESERVE.write_text(str(before + _PAGES))
    try:
        if int(_RESERVE.read_text()) < before + _PAGES:
            pytest.skip("the kernel has no free huge pages")
        with running_daemon(image_store) as running:
            yield running
    finally:
        _RESERVE.write_text(str(before))


def build_huge(name: str, amount: str, script: str) -> str:
    document = json.loads(build_pod(name, "debian", "sh", "-c", script))
    spec = document["spec"]
    spec["restartPolicy"] = "Never"
    spec["volumes"] = [{"name": "v", "emptyDir": {"medium": "HugePages"}}]
    spec["containers"][0] |= {
        "resources": {"limits": {"hugepages-2Mi": amount, "memory": "32Mi"}},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    return json.dumps(document)


def test_huge_pages_are_scheduled_and_mounted(daemon: Daemon, namespace: str) -> None:
    (node,) = daemon.get("/api/v1/nodes")["items"]
    assert node["status"]["capacity"]["hugepages-2Mi"] == f"{int(_RESERVE.read_text()) * 2}Mi"
    script = "grep ' /v hugetlbfs ' /proc/mounts && truncate -s 2M /v/file && stat -f -c %S /v"
    for manifest in (build_huge("p", "4Mi", script), build_huge("greedy", "1Ti", "true")):
        daemon.kubectl("-n", namespace, "create", "-f", "-", stdin=manifest)
    refused = wait_for_event(daemon, namespace, "greedy", "FailedScheduling")
    assert refused.startswith("0/1 nodes are available: 1 Insufficient hugepages-2Mi.")
    words = ("wait", "pod/p", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    daemon.kubectl("-n", namespace, *words)
    log = daemon.kubectl("-n", namespace, "logs", "p").stdout
    assert "pagesize=2M" in log
    assert log.splitlines()[-1] == str(2 << 20)

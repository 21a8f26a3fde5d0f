"""What ``up`` says while it waits, in pipes and log files."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.cli.up_pods import TrackedPods
from podhost.cli.up_wait import SETTLE_S, PlainDisplay, Waiting, WaitOptions
from podhost.client import ApiClient, Endpoint


class Clocked(TrackedPods):
    """Pods whose clock is set by hand."""

    now_s = 0.0

    def elapsed_s(self) -> float:
        return self.now_s


def make_pod(*, ready: bool, **state: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    entry = {"name": "main", "ready": ready, "restartCount": 1, "state": state}
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "u"},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": "Running", "conditions": conditions, "containerStatuses": [entry]},
    }


READY = make_pod(ready=True, running={})
CRASHED = make_pod(ready=False, waiting={"reason": "CrashLoopBackOff"})


def wait_for(*steps: tuple[float, dict[str, Any]]) -> tuple[Clocked, Waiting]:
    """After these steps, each a time and the pod as it is then."""
    pods = Clocked(ApiClient(Endpoint()), [READY], with_pulls=False)
    display = PlainDisplay()
    waiting = Waiting(pods, WaitOptions(timeout_s=60, detach=True), display)
    for now_s, pod in steps:
        pods.now_s, pods.pods[0].object = now_s, pod
        waiting._judge()
        display.show(pods)
    return pods, waiting


def test_pod_that_ends_at_once_is_never_called_ready(capsys: pytest.CaptureFixture[str]) -> None:
    _, waiting = wait_for((0.1, READY), (0.2, CRASHED))
    waiting._explain_stuck()
    err = capsys.readouterr().err
    assert "ready after" not in err
    assert "pod/web cannot become ready: CrashLoopBackOff" in err


def test_ready_is_told_with_its_time_once_it_has_lasted(capsys: pytest.CaptureFixture[str]) -> None:
    pods, waiting = wait_for((2.0, READY), (2.1, READY))
    assert capsys.readouterr().err == ""
    waiting._end()
    assert capsys.readouterr().err == "✓ pod/web ready after 2.0 s\n"
    assert pods.pods[0].told == "ready"


def test_pod_that_was_ready_for_long_did_become_ready(capsys: pytest.CaptureFixture[str]) -> None:
    _, waiting = wait_for((2.0, READY), (2.1 + SETTLE_S, READY), (9.0, CRASHED))
    waiting._explain_stuck()
    err = capsys.readouterr().err
    assert err.startswith("✓ pod/web ready after 2.0 s\n")
    assert "pod/web was ready, and is so no longer: CrashLoopBackOff" in err

"""The live table of ``up``: state in, lines out."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.cli.board import BoardStyle, ContainerRow, PodRows, compute_rows, draw_board
from podhost.cli.terminal import count_cells
from podhost.cli.verdict import Verdict

RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
REF = "docker.io/library/nginx:latest"
WAITING, READY = Verdict(state="waiting", text="starting"), Verdict(state="ready", text="ready")


def make_pod(entry: dict[str, Any] | None = None, *, node: str = "n1", **container: Any) -> dict[str, Any]:
    spec = {"nodeName": node, "containers": [{"name": "web", "image": "nginx", **container}]}
    statuses = [{"name": "web", "state": {"waiting": {"reason": "ContainerCreating"}}, **(entry or {})}]
    return {"metadata": {"name": "shop"}, "spec": spec, "status": {"containerStatuses": statuses}}


def event(
    reason: str, message: str = "", *, path: str = "spec.containers{web}", kind: str = "Normal"
) -> dict[str, Any]:
    return {"reason": reason, "message": message, "type": kind, "involvedObject": {"fieldPath": path}}


@pytest.mark.parametrize(
    ("pod", "events", "look", "text"),
    [
        (make_pod(node=""), [], "waiting", "waits for a node"),
        (make_pod(), [], "waiting", "waits for the pod's volumes and network"),
        (make_pod(), [event("FailedMount", "no x", path="", kind="Warning")], "waiting", "FailedMount: no x"),
        (make_pod(), [event("Pulling")], "pulling", "pulling nginx"),
        (make_pod(), [event("Pulling"), event("Pulled")], "waiting", "its image is here"),
        (make_pod(), [event("Pulled"), event("Created")], "waiting", "created"),
        (make_pod({"state": RUNNING, "started": True, "ready": True}), [], "ready", "ready"),
        (make_pod({"state": RUNNING, "ready": True, "restartCount": 2}), [], "ready", "ready, restarted 2 times"),
        (
            make_pod({"state": RUNNING, "started": True}, readinessProbe={}),
            [event("Started")],
            "running",
            "running, waits for its readiness probe",
        ),
        (
            make_pod({"state": RUNNING, "started": False}, readinessProbe={}, startupProbe={}),
            [event("Unhealthy", "Startup probe failed: HTTP 500")],
            "running",
            "running, waits for its startup probe: Startup probe failed: HTTP 500",
        ),
        (make_pod({"state": {"terminated": {"exitCode": 0}}}), [], "done", "completed"),
        (
            make_pod({"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
            [],
            "failed",
            "ended with exit code 137 (OOMKilled)",
        ),
        (
            make_pod({"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}),
            [event("Pulling")],
            "failed",
            "ErrImagePull: not found",
        ),
        (
            make_pod(
                {
                    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s …"}},
                    "lastState": {"terminated": {"exitCode": 3}},
                }
            ),
            [],
            "failed",
            "CrashLoopBackOff: exit code 3",
        ),
    ],
)
def test_row_says_what_the_container_does_or_waits_for(
    pod: dict[str, Any], events: list[dict[str, Any]], look: str, text: str
) -> None:
    (row,) = compute_rows(pod, events, {})
    assert (row.look, row.text) == (look, text)


@pytest.mark.parametrize(
    ("progress", "share", "text"),
    [
        ({"phase": "resolving"}, None, "pulling nginx"),
        ({"phase": "downloading", "done_bytes": 5_000_000}, None, "pulling 5.0 MB  nginx"),
        (
            {"phase": "downloading", "done_bytes": 5_000_000, "total_bytes": 20_000_000},
            0.25,
            "5.0 MB of 20.0 MB  nginx",
        ),
        ({"phase": "unpacking", "layers_done": 1, "layers_total": 2}, 0.5, "layer 1 of 2 unpacked  nginx"),
    ],
)
def test_pull_is_shown_by_its_image_however_that_is_written(
    progress: dict[str, Any], share: float | None, text: str
) -> None:
    (row,) = compute_rows(make_pod(), [event("Pulling")], {REF: progress, "docker.io/library/other:1": {}})
    assert (row.share, row.text) == (share, text)


def test_containers_wait_for_the_init_container_that_has_not_ended() -> None:
    pod = make_pod({"state": {"waiting": {"reason": "PodInitializing"}}})
    pod["spec"]["initContainers"] = [
        {"name": "proxy", "restartPolicy": "Always"},
        {"name": "migrate"},
        {"name": "seed"},
    ]
    pod["status"]["initContainerStatuses"] = [
        {"name": "proxy", "state": RUNNING, "started": True, "ready": True},
        {"name": "migrate", "state": RUNNING},
        {"name": "seed", "state": {"waiting": {"reason": "PodInitializing"}}},
    ]
    rows = {row.name: row.text for row in compute_rows(pod, [], {})}
    assert rows == {
        "proxy": "ready",
        "migrate": "running; the others wait for its end",
        "seed": "waits for the init container migrate",
        "web": "waits for the init container migrate",
    }


def rows_of(*rows: ContainerRow, verdict: Verdict = WAITING, name: str = "shop") -> PodRows:
    return PodRows(name=name, verdict=verdict, elapsed_s=3.21, rows=rows)


PULL = ContainerRow(name="web", look="pulling", text="5.0 MB of 20.0 MB  nginx", share=0.25)
LONG = ContainerRow(name="a-container-whose-name-is-rather-long", look="failed", text="ErrImagePull: " + "日本 " * 90)


def test_board_at_80_columns() -> None:
    ready = ContainerRow(name="sidecar", look="ready", text="ready")
    assert draw_board([rows_of(PULL, ready)], BoardStyle(width=80, height=24)) == [
        "⠋ pod/shop  starting  3.2 s",
        "  ↓ web      ███████░░░░░░░░░░░░░░░░░░░░░░░  25% 5.0 MB of 20.0 MB  nginx",
        "  ● sidecar  ready",
    ]


def test_board_without_unicode() -> None:
    failed = Verdict(state="stuck", text="ErrImagePull: no such image", reason="ErrImagePull")
    assert draw_board([rows_of(PULL, verdict=failed)], BoardStyle(width=60, height=24, ascii=True)) == [
        "x pod/shop  ErrImagePull after 3.2 s",
        "  v web  [####--------------]  25% 5.0 MB of 20.0 MB  nginx",
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = draw_board([rows_of(PULL, LONG), rows_of(name="x" * 60)], BoardStyle(width=width, height=24, colour=True))
    assert max(map(count_cells, lines)) < width


def test_pod_without_its_containers_below_says_what_it_waits_for() -> None:
    pods = [
        rows_of(PULL, verdict=Verdict(state="waiting", text="Pulling image x"), name=f"p{index}") for index in (1, 2)
    ]
    assert draw_board(pods, BoardStyle(width=80, height=3)) == [
        "⠋ pod/p1  starting  3.2 s  Pulling image x",
        "⠋ pod/p2  starting  3.2 s  Pulling image x",
    ]


def test_what_others_wrote_cannot_move_the_cursor() -> None:
    evil = ContainerRow(name="web", look="running", text="running: \x1b[2J\x07line\nbreak")
    (_, line) = draw_board([rows_of(evil)], BoardStyle(width=80, height=24))
    assert line.endswith("running: ?[2J?line break")


def test_pods_that_are_ready_give_way_when_the_terminal_is_too_low() -> None:
    ready = [rows_of(PULL, verdict=READY, name=f"r{index}") for index in range(5)]
    waiting = rows_of(PULL, name="w")
    assert len(draw_board([*ready, waiting], BoardStyle(width=80, height=30))) == 12
    low = draw_board([*ready, waiting], BoardStyle(width=80, height=9))
    assert [line.split()[1] for line in low] == ["pod/r0", "pod/r1", "pod/r2", "pod/r3", "pod/r4", "pod/w", "web"]
    assert draw_board([*ready, waiting], BoardStyle(width=80, height=4))[-1] == "… and 4 more pods"

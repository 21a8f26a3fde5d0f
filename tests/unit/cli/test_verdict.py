"""``compute_verdict``: a base case, and one change a row."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.cli.verdict import compute_exit_code, compute_verdict


def make_pod(
    *,
    phase: str = "Pending",
    state: dict[str, Any] | None = None,
    conditions: list[dict[str, Any]] | None = None,
    init: dict[str, Any] | None = None,
    **container: Any,
) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase, "conditions": conditions or []}
    if state is not None:
        status["containerStatuses"] = [{"name": "web", "state": state, "ready": False, **container}]
    if init is not None:
        status["initContainerStatuses"] = [{"name": "setup", "state": init, "ready": False}]
    return {"metadata": {"name": "mc1", "namespace": "default", "uid": "u1"}, "spec": {}, "status": status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


READY = [{"type": "Ready", "status": "True"}]
UNSCHEDULABLE = [
    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: Insufficient cpu."}
]


@pytest.mark.parametrize(
    ("pod", "state", "reason"),
    [
        (make_pod(), "waiting", ""),
        (make_pod(state=waiting("ContainerCreating")), "waiting", ""),
        (make_pod(state=waiting("ErrImagePull", "manifest unknown")), "stuck", "ErrImagePull"),
        (make_pod(state=waiting("ImagePullBackOff")), "stuck", "ImagePullBackOff"),
        (make_pod(state=waiting("InvalidImageName")), "stuck", "InvalidImageName"),
        (make_pod(state=waiting("CreateContainerConfigError")), "stuck", "CreateContainerConfigError"),
        (make_pod(phase="Running", state=waiting("CrashLoopBackOff")), "stuck", "CrashLoopBackOff"),
        (make_pod(init=waiting("CrashLoopBackOff")), "stuck", "CrashLoopBackOff"),
        (make_pod(conditions=UNSCHEDULABLE), "stuck", "Unschedulable"),
        (make_pod(phase="Running", state={"running": {}}), "waiting", ""),
        (make_pod(phase="Running", state={"running": {}}, conditions=READY), "ready", ""),
        (make_pod(phase="Succeeded", state={"terminated": {"exitCode": 0}}), "completed", ""),
        (make_pod(phase="Failed", state={"terminated": {"exitCode": 3, "reason": "Error"}}), "failed", "Error"),
    ],
)
def test_state_of_a_pod_gives_the_verdict(pod: dict[str, Any], state: str, reason: str) -> None:
    verdict = compute_verdict(pod, [])
    assert (verdict.state, verdict.reason) == (state, reason)


def test_image_error_names_the_container_and_the_registrys_words() -> None:
    verdict = compute_verdict(make_pod(state=waiting("ErrImagePull", "manifest unknown")), [])
    assert verdict.text == "ErrImagePull: container web: manifest unknown"
    assert "podhost image load" in verdict.next_step


def test_crash_loop_tells_the_last_exit_and_asks_for_the_previous_log() -> None:
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    pod = make_pod(phase="Running", state=waiting("CrashLoopBackOff"), lastState=last, restartCount=4)
    verdict = compute_verdict(pod, [])
    assert "(4 restarts), last with exit code 137 (OOMKilled)" in verdict.text
    assert (verdict.container, verdict.previous_log) == ("web", True)
    assert verdict.next_step == "it had too little memory: raise its resources.limits.memory"


def test_pod_without_its_host_port_is_told_where_the_holder_is_named() -> None:
    message = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    verdict = compute_verdict(make_pod(conditions=[UNSCHEDULABLE[0] | {"message": message}]), [])
    assert verdict.next_step == "see which pod has the hostPort: podhost describe mc1"


@pytest.mark.parametrize(
    ("reason", "message", "hint"),
    [
        ("ErrImagePull", 'failed to do request: Get "https://r/v2/": dial tcp: no such host', "check the network"),
        ("CreateContainerConfigError", 'configmap "c" not found', "create the ConfigMap or Secret"),
        ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root", "set runAsUser"),
        ("RunContainerError", "mount `/x` to `etc/passwd`: Not a directory", "check the container's volumeMounts"),
        ("RunContainerError", 'exec: "x": executable file not found', "check the container's command"),
        ("CrashLoopBackOff", "", "podhost logs mc1 -c web --previous"),
    ],
)
def test_next_step_fits_the_message(reason: str, message: str, hint: str) -> None:
    last = {"terminated": {"exitCode": 1, "reason": "Error"}}
    verdict = compute_verdict(make_pod(state=waiting(reason, message), lastState=last), [])
    assert hint in verdict.next_step


def test_liveness_probe_that_ended_a_container_is_named() -> None:
    def event(reason: str, message: str, container: str = "web") -> dict[str, Any]:
        return {
            "reason": reason,
            "message": message,
            "involvedObject": {"fieldPath": f"spec.containers{{{container}}}"},
        }

    last = {"terminated": {"exitCode": 137, "reason": "Error"}}
    pod = make_pod(phase="Running", state=waiting("CrashLoopBackOff"), lastState=last, restartCount=1)
    killing = event("Killing", "Container web failed liveness probe, will be restarted")
    events = [event("Unhealthy", "Liveness probe failed: HTTP 500\n"), killing, event("Unhealthy", "Readiness …")]
    verdict = compute_verdict(pod, events)
    assert verdict.text.endswith(
        "(1 restart), last with exit code 137; its liveness probe ended it: Liveness probe failed: HTTP 500"
    )
    assert "startupProbe" in verdict.next_step
    others = [
        event("Unhealthy", "Liveness probe failed", "x"),
        event("Killing", "Container x failed liveness probe", "x"),
    ]
    assert "probe" not in compute_verdict(pod, others).text


def test_container_that_is_not_ready_has_the_log_to_look_at() -> None:
    verdict = compute_verdict(make_pod(phase="Running", state={"running": {}}), [])
    assert (verdict.state, verdict.container) == ("waiting", "web")
    assert compute_verdict(make_pod(state=waiting("ContainerCreating")), []).container == ""


def test_failed_mount_is_stuck_until_a_later_event_says_otherwise() -> None:
    mount = {"type": "Warning", "reason": "FailedMount", "message": 'configmap "conf" not found'}
    pulled = {"type": "Normal", "reason": "Pulled", "message": "…"}
    pod = make_pod(state=waiting("ContainerCreating"))
    assert compute_verdict(pod, [mount]).text == 'FailedMount: configmap "conf" not found'
    assert compute_verdict(pod, [mount, pulled]).state == "waiting"


def test_failed_probe_is_shown_while_waiting() -> None:
    event = {"type": "Warning", "reason": "Unhealthy", "message": "Readiness probe failed: HTTP 503"}
    verdict = compute_verdict(make_pod(phase="Running", state={"running": {}}), [event])
    assert verdict.text == "waiting for web to become ready: Readiness probe failed: HTTP 503"


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("The node was low on resource: memory. ", "resources.requests.memory"),
        ("The node was low on resource: inodes. ", "podhost image prune"),
        ("Pod was rejected: The node had condition: [DiskPressure]. ", "podhost doctor"),
        ('Usage of EmptyDir volume "x" exceeds the limit "1Mi". ', "sizeLimit"),
        ("Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ", "limits.ephemeral-storage"),
        ("No idea. ", ""),
    ],
)
def test_evicted_pod_tells_its_own_reason_and_not_that_it_was_killed(message: str, hint: str) -> None:
    pod = make_pod(phase="Failed", state={"terminated": {"exitCode": 137, "reason": "Error"}})
    pod["status"] |= {"reason": "Evicted", "message": message}
    verdict = compute_verdict(pod, [])
    assert (verdict.text, verdict.exit_code) == (f"Evicted: {message.strip()}", 137)
    assert hint in verdict.next_step
    assert bool(hint) == bool(verdict.next_step)


def test_pod_that_ends_because_it_is_deleted_says_so() -> None:
    pod = make_pod(phase="Failed", state={"terminated": {"exitCode": 137, "reason": "Error"}})
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert compute_verdict(pod, []).text == "it was deleted; container web ended with exit code 137 (Error)"


@pytest.mark.parametrize(
    ("phase", "codes", "expected"),
    [("Succeeded", (0, 0), 0), ("Failed", (0, 7), 7), ("Failed", (3, 7), 3), ("Failed", (0, 0), 1), ("Running", (), 0)],
)
def test_exit_code_is_the_first_that_is_not_zero(phase: str, codes: tuple[int, ...], expected: int) -> None:
    statuses = [{"name": f"c{code}", "state": {"terminated": {"exitCode": code}}} for code in codes]
    assert compute_exit_code({"status": {"phase": phase, "containerStatuses": statuses}}) == expected


@pytest.mark.parametrize(("policy", "state"), [("Always", "waiting"), ("OnFailure", "ready"), ("Never", "ready")])
def test_ended_container_is_not_waited_for_when_it_is_not_restarted(policy: str, state: str) -> None:
    pod = make_pod(phase="Running", state={"running": {}})
    pod["spec"]["restartPolicy"] = policy
    pod["status"]["containerStatuses"] = [
        {"name": "producer", "ready": False, "state": {"terminated": {"exitCode": 0}}},
        {"name": "consumer", "ready": True, "state": {"running": {}}},
    ]
    assert compute_verdict(pod, []).state == state


@pytest.mark.parametrize(("policy", "told"), [(None, "init container setup"), ("Always", "starting")])
def test_a_running_init_container_is_what_the_pod_waits_for_unless_it_is_a_sidecar(
    policy: str | None, told: str
) -> None:
    pod = make_pod(init={"running": {}}, state=waiting("PodInitializing"))
    pod["spec"] = {"initContainers": [{"name": "setup", "restartPolicy": policy}]}
    pod["status"]["initContainerStatuses"][0]["started"] = True
    assert compute_verdict(pod, []).text == told

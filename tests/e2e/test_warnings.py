"""Fields that are not honoured are said twice: to who sends the pod, and to who looks at it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.daemon import Daemon
from harness.pods import build_pod, find_events
from podhost.api.warnings import pod_warnings


def build_container(**fields: Any) -> dict[str, Any]:
    return {"name": "c", "image": "debian", "command": ["sleep", "infinity"], **fields}


def test_unhonoured_field_is_warned_of_and_recorded_once(daemon: Daemon, namespace: str) -> None:
    term = {"labelSelector": {"matchLabels": {"app": "none"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    pod = build_pod("web", "", containers=[build_container()], affinity=affinity)
    text = "spec.affinity.podAntiAffinity: not honoured by podhost; there is one node, and every pod runs on it"
    result = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod)
    assert result.stderr == f"Warning: {text}\n"
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/web", "--timeout=30s")
    told = [event for event in find_events(daemon, namespace, "web") if event[0] == "Warning"]
    assert told == [("Warning", "FieldNotHonoured", text)]
    assert "FieldNotHonoured" in daemon.kubectl("get", "-n", namespace, "events").stdout


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe", "startupProbe"])
def test_probes_are_honoured_or_warned_of(daemon: Daemon, namespace: str, probe: str) -> None:
    pod = build_pod("web", "", containers=[build_container(**{probe: {"exec": {"command": ["true"]}}})])
    wanted = [text for text in pod_warnings(json.loads(pod)) if probe in text]
    result = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod)
    assert result.stderr.splitlines() == [f"Warning: {text}" for text in wanted]
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/web", "--timeout=30s")
    told = [m for _, reason, m in find_events(daemon, namespace, "web") if reason == "FieldNotHonoured"]
    assert told == wanted


def test_pod_of_honoured_fields_is_not_warned_of(daemon: Daemon, namespace: str) -> None:
    """subPathExpr among them: it is what its warning table says."""
    env = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    mounts = [{"name": "d", "mountPath": "/mine", "subPathExpr": "of/$(POD)"}, {"name": "d", "mountPath": "/all"}]
    container = build_container(env=env, volumeMounts=mounts)
    pod = build_pod("web", "", containers=[container], volumes=[{"name": "d", "emptyDir": {}}])
    assert daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod).stderr == ""
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/web", "--timeout=30s")
    script = "touch /mine/file; cd /all; find . -type f"
    assert daemon.kubectl("exec", "-n", namespace, "web", "--", "sh", "-c", script).stdout == "./of/web/file\n"
    assert [event for event in find_events(daemon, namespace, "web") if event[0] == "Warning"] == []


def test_unknown_variable_in_an_expression_keeps_the_container_from_starting(daemon: Daemon, namespace: str) -> None:
    mounts = [{"name": "d", "mountPath": "/mine", "subPathExpr": "$(NOWHERE)"}]
    pod = build_pod(
        "web", "", containers=[build_container(volumeMounts=mounts)], volumes=[{"name": "d", "emptyDir": {}}]
    )
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod)
    condition = "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError"
    daemon.kubectl("wait", "-n", namespace, condition, "pod/web", "--timeout=30s")

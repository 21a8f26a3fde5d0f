"""Restart policies and rules of containers, with real containers."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from harness.covers import covers
from harness.daemon import Daemon, wait_until
from harness.pods import container_status, find_events


def _apply(daemon: Daemon, namespace: str, spec: dict[str, Any]) -> None:
    spec = {"terminationGracePeriodSeconds": 1, **spec}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))


@covers(
    "Container.restartPolicyRules", "ContainerRestartRule.action", "ContainerRestartRule.exitCodes",
    "ContainerRestartRuleOnExitCodes.operator", "ContainerRestartRuleOnExitCodes.values",
)  # fmt: skip
@covers(
    "Container.restartPolicy", "Container.restartPolicyRules", "ContainerRestartRule.action",
    "ContainerRestartRule.exitCodes", "ContainerRestartRuleOnExitCodes.operator",
    "ContainerRestartRuleOnExitCodes.values",
)  # fmt: skip
def test_rules_of_a_container_decide_about_its_restart_whatever_the_pod_says(daemon: Daemon, namespace: str) -> None:
    script = "n=$(wc -l < /d/runs 2>/dev/null || echo 0); echo run >> /d/runs; [ $n -lt 1 ] && exit 3; exit 4"
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}]
    mount = {"volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    retry = {"name": "c", "image": "debian", "command": ["bash", "-c", script], **mount}
    retry |= {"restartPolicy": "Never", "restartPolicyRules": rules}
    _apply(daemon, namespace, {"restartPolicy": "Always", "volumes": [{"name": "d", "emptyDir": {}}],
                               "containers": [retry]})  # fmt: skip
    daemon.kubectl("wait", "-n", namespace, "pod/p", "--for=jsonpath={.status.phase}=Failed", "--timeout=40s")
    entry = container_status(daemon, namespace, "p")
    assert (entry["restartCount"], entry["state"]["terminated"]["exitCode"]) == (1, 4)
    assert entry["lastState"]["terminated"]["exitCode"] == 3

    refused = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": {"containers": [
        {"name": "c", "image": "debian", "restartPolicyRules": rules}]}})  # fmt: skip
    answer = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=refused, check=False)
    text = "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used"
    assert text in answer.stderr


def test_an_exit_can_restart_all_containers_of_the_pod_init_containers_included(daemon: Daemon, namespace: str) -> None:
    mount = {"image": "debian", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    init = {"name": "i", "command": ["bash", "-c", "echo init >> /d/log"], **mount}
    script = "[ $(grep -c init /d/log) -gt 1 ] || exit 42; sleep infinity"
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]
    trigger = {"name": "c", "command": ["bash", "-c", script], **mount}
    trigger |= {"restartPolicy": "Never", "restartPolicyRules": rules}
    other = {"name": "other", "command": ["sleep", "infinity"], **mount}
    _apply(daemon, namespace, {"restartPolicy": "Never", "volumes": [{"name": "d", "emptyDir": {}}],
                               "initContainers": [init], "containers": [trigger, other]})  # fmt: skip

    def both_again() -> bool:
        entries = [container_status(daemon, namespace, "p", name) for name in ("c", "other")]
        return all(entry.get("restartCount") == 1 and "running" in entry["state"] for entry in entries)

    wait_until(both_again, what="the second round", timeout_s=40)
    for name in ("i", "c", "other"):
        entry = container_status(daemon, namespace, "p", name)
        assert entry["restartCount"] == 1
        assert entry["lastState"]["terminated"]["reason"] == "RestartingAllContainers"
    assert daemon.kubectl("exec", "-n", namespace, "p", "-c", "other", "--", "cat", "/d/log").stdout == "init\ninit\n"
    conditions = {c["type"]: c["status"] for c in daemon.pod("p", namespace)["status"]["conditions"]}
    assert conditions["AllContainersRestarting"] == "False"
    assert conditions["Initialized"] == conditions["Ready"] == "True"
    assert daemon.pod("p", namespace)["status"]["phase"] == "Running"
    assert [reason for _, reason, _ in find_events(daemon, namespace, "p")].count("Killing") == 1


def test_another_image_replaces_a_running_container_also_under_never(daemon: Daemon, namespace: str) -> None:
    obeys = {"command": ["bash", "-c", "trap 'exit 0' TERM; sleep infinity & wait"]}
    done = {"name": "done", "image": "debian", "command": ["true"]}
    _apply(daemon, namespace, {"restartPolicy": "Never", "containers": [
        {"name": "c", "image": "debian", **obeys}, done]})  # fmt: skip
    ended = partial(container_status, daemon, namespace, "p", "done")
    wait_until(lambda: "terminated" in (ended().get("state") or {}), what="the end of the other container")
    daemon.kubectl("wait", "-n", namespace, "pod/p", "--for=jsonpath={.status.phase}=Running", "--timeout=30s")
    daemon.kubectl("set", "image", "-n", namespace, "pod/p", "c=nginx", "done=nginx")

    def replaced() -> bool:
        entry = container_status(daemon, namespace, "p")
        return entry["restartCount"] == 1 and "running" in entry["state"]

    wait_until(replaced, what="a container of the new image")
    assert "nginx" in container_status(daemon, namespace, "p")["image"]
    assert ended()["restartCount"] == 0
    killing = ("Normal", "Killing", "Container c definition changed, will be restarted")
    assert killing in find_events(daemon, namespace, "p")

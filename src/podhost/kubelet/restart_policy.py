"""Whether a container starts again after its exit: its rules, its own policy, the pod's.  Pure.

After kubernetes 1.37 pkg/api/v1/pod/util.go and KEP-5307; ``RestartAllContainers`` after KEP-5532::

    exit code ──first rule that matches──▶ Restart | RestartAllContainers (a new round of the whole pod)
              ──none────────────────────▶ the container's restartPolicy, else the pod's

A *round* is one life of all containers of a pod, init containers included.  Each container is created with the
number of its round; an exit that a rule answers with ``RestartAllContainers`` ends the round.  So what belongs to
the present one is read from facts, and a new daemon sees the same.
"""

from __future__ import annotations

from podhost.api import models
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.kubelet.runtime_status import LABEL_ROUND, PodRuntimeStatus

AnyContainer = models.Container | models.EphemeralContainer
RESTART = "Restart"
RESTART_ALL = "RestartAllContainers"


def restart_policy(pod: models.Pod) -> str:
    """``Always``, ``OnFailure`` or ``Never``."""
    return pod.spec.restart_policy or "Always"


def find_rule_action(container: AnyContainer, exit_code: int) -> str | None:
    """Action of the first restart rule that matches an exit code."""
    if container.restart_policy is None:
        return None
    for rule in container.restart_policy_rules:
        codes = rule.exit_codes
        if codes is not None and (exit_code in codes.values) == (codes.operator == "In"):
            return rule.action
    return None


def restarts_after(pod: models.Pod, container: AnyContainer, exit_code: int) -> bool:
    """Whether the container alone is started again after such an exit."""
    if find_rule_action(container, exit_code) == RESTART:
        return True
    policy = container.restart_policy or restart_policy(pod)
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def may_restart(pod: models.Pod, container: AnyContainer) -> bool:
    """Whether there is any exit after which the container is started again."""
    if container.restart_policy is None:
        return restart_policy(pod) != "Never"
    return container.restart_policy != "Never" or any(r.action == RESTART for r in container.restart_policy_rules)


def should_restart(pod: models.Pod, container: AnyContainer, status: ContainerStatus | None) -> bool:
    """Whether a container that does not run has to be started (again)."""
    if status is None or status.state in (ContainerState.CREATED, ContainerState.UNKNOWN):
        return True
    return status.state is ContainerState.EXITED and restarts_after(pod, container, status.exit_code)


def has_restart_all_rule(pod: models.Pod) -> bool:
    """Whether an exit of one container can restart all of them."""
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    return any(rule.action == RESTART_ALL for c in containers for rule in c.restart_policy_rules)


def read_round(status: ContainerStatus) -> int:
    """The round that a container was created in."""
    text = status.labels.get(LABEL_ROUND, "0")
    return int(text) if text.isdigit() else 0


def compute_round(pod: models.Pod, observed: PodRuntimeStatus) -> int:
    """The present round: the latest that has containers, or the one after it when an exit has ended that."""
    if not has_restart_all_rule(pod):
        return max(map(read_round, observed.containers), default=0)
    latest = max(map(read_round, observed.containers), default=0)
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        status = observed.latest(container.name)
        if status is None or status.state is not ContainerState.EXITED or read_round(status) != latest:
            continue
        if find_rule_action(container, status.exit_code) == RESTART_ALL:
            return latest + 1
    return latest


def is_restarting_all(pod: models.Pod, observed: PodRuntimeStatus) -> bool:
    """From the exit that ends a round until all containers of that round have ended."""
    if not has_restart_all_rule(pod):
        return False
    present = compute_round(pod, observed)
    names = {c.name for c in (*pod.spec.init_containers, *pod.spec.containers)}
    mine = [c for c in observed.containers if c.name in names]
    if not any(read_round(c) == present for c in mine):
        return present > 0
    return any(read_round(c) < present for c in mine if c.state in (ContainerState.RUNNING, ContainerState.UNKNOWN))

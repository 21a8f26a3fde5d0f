"""What becomes of containers when the machine shuts down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.daemon.machine_stop import compute_grace_s, is_machine_stopping, stop_containers
from podhost.errors import UnavailableError


def container(name: str, pod: str, state: ContainerState) -> ContainerStatus:
    return ContainerStatus(
        id=ContainerId(name),
        sandbox_id=SandboxId("s"),
        pod_uid=PodUID(pod),
        pod_namespace="default",
        pod_name=pod,
        name=name,
        attempt=0,
        state=state,
        image_ref="i",
        image_id=ImageId("i"),
        created_at_ns=1,
        log_path=Path("/log"),
    )


class FakeContainers:
    def __init__(self, *statuses: ContainerStatus) -> None:
        self.statuses = statuses
        self.stopped: dict[str, float] = {}

    def list_containers(self) -> list[ContainerStatus]:
        return list(self.statuses)

    async def stop_container(self, container_id: ContainerId, grace_s: float) -> None:
        self.stopped[container_id] = grace_s
        if container_id == "stubborn":
            raise UnavailableError("cannot kill it")


def pod(uid: str, grace_s: int | None) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, "spec": {"terminationGracePeriodSeconds": grace_s}}


async def test_what_runs_is_stopped_with_its_pods_grace_and_one_failure_does_not_keep_the_others() -> None:
    runtime = FakeContainers(
        container("stubborn", "p1", ContainerState.RUNNING),
        container("quick", "p1", ContainerState.RUNNING),
        container("orphan", "gone", ContainerState.RUNNING),
        container("done", "p1", ContainerState.EXITED),
    )
    await stop_containers(runtime, [pod("p1", 7)])
    assert runtime.stopped == {"stubborn": 7, "quick": 7, "orphan": 30}


@pytest.mark.parametrize(("wish", "grace_s"), [(None, 30), (0, 0), (5, 5), (3600, 30)])
def test_grace_is_bounded(wish: int | None, grace_s: float) -> None:
    assert compute_grace_s(pod("p", wish)) == grace_s


async def test_without_systemd_the_machine_is_not_stopping(tmp_path: Path) -> None:
    assert not await is_machine_stopping(tmp_path / "absent")

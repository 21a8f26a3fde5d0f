"""Facts on disk and what follows from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.runtime import (
    ContainerConfig,
    ContainerState,
    Mount,
    PodSandboxConfig,
    SandboxState,
    SecurityConfig,
)
from podhost.linux.pidfd import ProcessId
from podhost.runtime.records import (
    ContainerRecord,
    RecordFiles,
    SandboxRecord,
    build_exited_record,
    compute_container_state,
    compute_container_status,
    compute_sandbox_status,
)

POD = PodSandboxConfig(
    namespace="n", name="p", uid=PodUID("u"), hostname="p", log_directory=Path("/l"), sysctls={"a": "b"}
)
SANDBOX = SandboxRecord(id=SandboxId("s1"), config=POD, boot_id="b", created_at_ns=5, ips=("10.0.0.1",))
CONTAINER = ContainerRecord(
    id=ContainerId("c1"),
    sandbox_id=SandboxId("s1"),
    config=ContainerConfig(
        name="c",
        attempt=1,
        image_id=ImageId("sha256:1"),
        image_ref="i",
        log_path=Path("/l/1.log"),
        env=(("A", "b"),),
        mounts=(Mount(container_path="/x", host_path=Path("/y"), propagation="rslave"),),
        security=SecurityConfig(run_as_user=5),
        labels={"k": "v"},
    ),
    stop_signal="SIGTERM",
    created_at_ns=10,
)
RUNNING = replace(CONTAINER, started_at_ns=20, process=ProcessId(7, 8, "b"), monitor=ProcessId(6, 7, "b"))


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path / "s", tmp_path / "c")
    (tmp_path / "s").mkdir()
    (tmp_path / "c").mkdir()
    files.save_sandbox(SANDBOX)
    files.save_container(RUNNING)
    assert files.load_sandboxes() == [SANDBOX]
    assert files.load_containers() == [RUNNING]
    files.delete_sandbox(SANDBOX.id)
    files.delete_container(RUNNING.id)
    assert files.load_sandboxes() == []
    assert files.load_containers() == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "c1"}', '{"id": 3}'])
def test_broken_record_is_set_aside(tmp_path: Path, text: str) -> None:
    files = RecordFiles(tmp_path, tmp_path)
    (tmp_path / "c1.json").write_text(text)
    assert files.load_containers() == []
    assert [path.name for path in tmp_path.iterdir()] == ["c1.broken"]


def test_record_under_another_name_is_set_aside(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path, tmp_path)
    files.save_container(RUNNING)
    (tmp_path / "c1.json").rename(tmp_path / "c2.json")
    assert files.load_containers() == []


def test_state_follows_from_facts() -> None:
    assert compute_container_state(CONTAINER) is ContainerState.CREATED
    assert compute_container_state(RUNNING) is ContainerState.RUNNING
    assert compute_container_state(replace(RUNNING, finished_at_ns=30)) is ContainerState.EXITED
    assert compute_container_state(replace(CONTAINER, finished_at_ns=30)) is ContainerState.EXITED


@pytest.mark.parametrize(
    ("code", "reason", "wanted"), [(0, "", "Completed"), (1, "", "Error"), (137, "OOMKilled", "OOMKilled")]
)
def test_exit_has_a_reason(code: int, reason: str, wanted: str) -> None:
    record = build_exited_record(RUNNING, finished_at_ns=30, exit_code=code, reason=reason)
    assert (record.exit_code, record.reason, record.finished_at_ns) == (code, wanted, 30)


def test_exit_is_never_before_the_start() -> None:
    assert build_exited_record(RUNNING, finished_at_ns=3, exit_code=0).finished_at_ns == 20


def test_status_shows_the_pid_only_while_it_runs() -> None:
    assert compute_container_status(RUNNING, POD).pid == 7
    assert compute_container_status(replace(RUNNING, finished_at_ns=30), POD).pid == 0


def test_stopped_sandbox_is_not_ready() -> None:
    netns = Path("/ns/net")
    assert compute_sandbox_status(SANDBOX, netns).state is SandboxState.READY
    assert compute_sandbox_status(SANDBOX, netns).netns_path == netns
    stopped = compute_sandbox_status(replace(SANDBOX, stopped_at_ns=9), netns)
    assert (stopped.state, stopped.netns_path) == (SandboxState.NOTREADY, None)

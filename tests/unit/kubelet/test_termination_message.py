"""Termination messages: what of a file or log is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.kubelet.runtime_status import LABEL_TERMINATION_LOG, LABEL_TERMINATION_POLICY
from podhost.kubelet.termination_message import limit_message, read_termination_message


def _ended(tmp_path: Path, *, policy: str = "File") -> ContainerStatus:
    labels = {LABEL_TERMINATION_LOG: str(tmp_path / "message"), LABEL_TERMINATION_POLICY: policy}
    return ContainerStatus(
        id=ContainerId("c"), sandbox_id=SandboxId("s"), pod_uid=PodUID("u"), pod_namespace="default", pod_name="web",
        name="c", attempt=0, state=ContainerState.EXITED, image_ref="nginx:1", image_id=ImageId("sha256:1"),
        created_at_ns=1, started_at_ns=1, finished_at_ns=2, exit_code=1, log_path=tmp_path / "log", labels=labels,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"", ""),
        (b"short", "short"),
        (b"x" * 4096, "x" * 4096),
        # As the kubelet: the end of it, where the cause is told last.
        (b"begin" + b"x" * 5000 + b"end", "x" * 4093 + "end"),
    ],
)
def test_last_4096_bytes_of_the_file_are_shown(tmp_path: Path, written: bytes, shown: str) -> None:
    (tmp_path / "message").write_bytes(written)
    assert read_termination_message(_ended(tmp_path)) == shown


def test_huge_file_with_holes_is_not_read_from_its_beginning(tmp_path: Path) -> None:
    with (tmp_path / "message").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, 2)
        file.write(b"end")
    assert read_termination_message(_ended(tmp_path)).endswith("\0end")


def test_link_and_missing_file_say_nothing(tmp_path: Path) -> None:
    assert read_termination_message(_ended(tmp_path)) == ""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "message").symlink_to(tmp_path / "secret")
    assert read_termination_message(_ended(tmp_path)) == ""


@pytest.mark.parametrize(
    ("message", "containers", "shown"),
    [("x" * 4096, 3, "x" * 4096), ("x" * 4096, 4, "x" * 3072), ("é" * 2000, 4, "é" * 1536), ("x", 20_000, "")],
)
def test_message_is_cut_to_its_share(message: str, containers: int, shown: str) -> None:
    assert limit_message(message, containers) == shown

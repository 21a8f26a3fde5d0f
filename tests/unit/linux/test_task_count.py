"""How many tasks there are and may be."""

from __future__ import annotations

from pathlib import Path

from podhost.linux.task_count import read_task_count


def test_least_limit_of_the_kernel_counts(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/pid_max").write_text("4194304\n")
    (tmp_path / "sys/kernel/threads-max").write_text("63000\n")
    (tmp_path / "loadavg").write_text("0.10 0.20 0.30 2/70000 12345\n")
    assert read_task_count(tmp_path) == (70000, 63000)


def test_this_machine_has_tasks_and_room_for_more() -> None:
    running, most = read_task_count()
    assert 0 < running < most

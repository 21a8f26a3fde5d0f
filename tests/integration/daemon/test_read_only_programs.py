"""crun is shown at a place from which nobody can overwrite it, and starts once only from there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.daemon.read_only_programs import show_crun_read_only, show_read_only
from podhost.linux import mount
from podhost.runtime.settings import RuntimeSettings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "programs"
    mount.unmount_tree(tmp_path)


@pytest.fixture
def crun(tmp_path: Path) -> Path:
    found = shutil.which("crun")
    assert found is not None
    return Path(shutil.copy(found, tmp_path / "crun"))


def test_a_program_runs_from_there_and_cannot_be_written(crun: Path, directory: Path) -> None:
    shown = show_read_only(crun, directory)
    assert shown == directory / "crun"
    assert b"crun version" in subprocess.run([shown, "--version"], check=True, capture_output=True).stdout
    with pytest.raises(OSError, match="Read-only file system"):
        shown.open("ab")
    assert show_read_only(crun, directory) == shown
    assert len([info for info in mount.mounts() if info.mount_point == shown]) == 1


def test_a_program_that_was_replaced_is_shown_anew(crun: Path, directory: Path) -> None:
    show_read_only(crun, directory)
    shutil.copy("/bin/true", crun.with_name("new"))
    crun.with_name("new").rename(crun)
    shown = show_read_only(crun, directory)
    assert shown.read_bytes() == Path("/bin/true").read_bytes()
    assert len([info for info in mount.mounts() if info.mount_point == shown]) == 1


def test_scripts_and_what_is_missing_stay_where_they_are(tmp_path: Path, directory: Path) -> None:
    script = tmp_path / "crun"
    script.write_text("#!/bin/sh\n")
    for program in (script, tmp_path / "absent"):
        assert show_read_only(program, directory) == program
    assert not directory.exists()


def test_handlers_that_are_crun_are_shown_too_and_others_not(crun: Path, directory: Path) -> None:
    other = Path(shutil.copy("/bin/true", crun.with_name("runc")))
    settings = RuntimeSettings(
        instance="x",
        data_dir=directory,
        run_dir=directory,
        cgroup_parent="/x",
        crun_path=crun,
        runc_path=other,
        handlers={"fast": crun, "other": other},
    )
    shown = show_crun_read_only(settings, directory)
    assert shown.crun_path == directory / "handler-" / "crun"
    assert shown.handlers == {"fast": directory / "handler-fast" / "crun", "other": other}
    assert shown.runc_path == other
    assert {name: runtime.kind for name, runtime in shown.all_handlers().items()} == {
        "": "crun",
        "crun": "crun",
        "runc": "runc",
        "fast": "crun",
        "other": "runc",
    }


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_crun_starts_once_from_there(crun: Path, directory: Path) -> None:
    """It would run a copy of itself if it found that it can be overwritten."""
    shown = show_read_only(crun, directory)
    for program, starts in ((crun, 2), (shown, 1)):
        trace = subprocess.run(
            ["strace", "-f", "-e", "trace=execve,execveat", program, "--root", directory.parent / "state", "list"],
            capture_output=True,
            text=True,
        )
        assert trace.stderr.count("execve") == starts, trace.stderr

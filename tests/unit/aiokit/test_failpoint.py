"""Failpoints: off unless configured, and exactly as configured."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from podhost.aiokit import failpoint


@pytest.fixture(autouse=True)
def _cleared() -> Iterator[None]:
    failpoint.clear()
    yield
    failpoint.clear()


def hits(name: str, times: int) -> list[str]:
    """What each hit did: ``ok`` or the errno's name."""
    results = []
    for _ in range(times):
        try:
            failpoint.hit(name)
        except OSError as error:
            results.append(errno.errorcode[error.errno or 0])
        else:
            results.append("ok")
    return results


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("off", ["ok", "ok", "ok", "ok"]),
        ("error:ENOSPC", ["ENOSPC", "ENOSPC", "ENOSPC", "ENOSPC"]),
        ("2*off->error:EIO", ["ok", "ok", "EIO", "EIO"]),
        ("1*error:EIO", ["EIO", "ok", "ok", "ok"]),
        ("1*off->2*error:EIO", ["ok", "EIO", "EIO", "ok"]),
    ],
)
def test_actions(action: str, expected: list[str]) -> None:
    failpoint.set("test.point", action)
    assert hits("test.point", 4) == expected
    assert hits("test.other", 1) == ["ok"]


@pytest.mark.parametrize("action", ["", "explode", "error:", "error:ENONSENSE", "x*off->kill", "kill;"])
def test_unreadable_action_is_refused(action: str) -> None:
    with pytest.raises(ValueError, match="cannot read failpoint"):
        failpoint.set("test.point", action)


def test_clear_switches_one_off() -> None:
    failpoint.set("test.a", "error:EIO")
    failpoint.set("test.b", "error:EIO")
    failpoint.clear("test.a")
    assert hits("test.a", 1) == ["ok"]
    assert hits("test.b", 1) == ["EIO"]


def test_environment_configures_several() -> None:
    failpoint.configure({"PODHOST_FAILPOINTS": "test.a=error:EIO; test.b = 1*off->error:ENOSPC ;"})
    assert hits("test.a", 1) == ["EIO"]
    assert hits("test.b", 2) == ["ok", "ENOSPC"]
    with pytest.raises(ValueError, match="want NAME=ACTION"):
        failpoint.configure({"PODHOST_FAILPOINTS": "nonsense"})


def test_registered_names_are_listed_in_order() -> None:
    failpoint.register("test.z.02-second")
    assert failpoint.register("test.z.01-first") == "test.z.01-first"
    names = [name for name in failpoint.known() if name.startswith("test.z.")]
    assert names == ["test.z.01-first", "test.z.02-second"]


def test_kill_from_the_environment_ends_the_process_at_once() -> None:
    code = "from podhost.aiokit import failpoint\nfailpoint.hit('p')\nprint('passed')\nfailpoint.hit('p')\nprint('no')"
    done = subprocess.run(
        [sys.executable, "-uc", code],
        env={"PODHOST_FAILPOINTS": "p=1*off->kill"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == b"passed\n"

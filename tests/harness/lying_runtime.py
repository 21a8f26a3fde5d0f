"""A stand-in for crun that fails, hangs or lies when it is told to, and is crun otherwise."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from harness.daemon import wait_until

_SCRIPT = """#!/bin/sh
verb=none
for word in "$@"; do
    case $word in create|start|exec|kill|delete|state|features|--version) verb=$word; break;; esac
done
echo "$verb" >> {faults}/calls
case "$(cat {faults}/$verb 2>/dev/null)" in
    fail) echo "told to fail" >&2; exit 1;;
    lie) exit 0;;
    hang) exec sleep 1017;;
    die) kill -9 $$;;
    babble) head -c 60000 /dev/zero | tr '\\0' x >&2; exit 1;;
    flood) head -c 300000 /dev/zero | tr '\\0' x >&2; exit 1;;
    flood-and-do) head -c 300000 /dev/zero | tr '\\0' x >&2;;
    do-and-fail) {crun} "$@"; echo "told to fail after it was done" >&2; exit 1;;
esac
exec {crun} "$@"
"""

CREATE_FAULTS = ("fail", "lie", "die", "babble", "flood", "do-and-fail")


class LyingRuntime:
    """``programs`` is a directory for the daemon's search path; :meth:`tell` makes a verb misbehave."""

    def __init__(self, root: Path) -> None:
        self.programs = root / "programs"
        self._faults = root / "faults"
        for directory in (self.programs, self._faults):
            directory.mkdir(parents=True)
        script = self.programs / "crun"
        script.write_text(_SCRIPT.format(faults=self._faults, crun=shutil.which("crun")))
        script.chmod(0o755)

    def tell(self, verb: str, fault: str) -> None:
        """From now on; ``""``: be honest."""
        (self._faults / verb).write_text(fault)

    def count(self, verb: str) -> int:
        """How often the verb was called."""
        with contextlib.suppress(FileNotFoundError):
            return (self._faults / "calls").read_text().split().count(verb)
        return 0

    def wait_for_call(self, verb: str, before: int) -> None:
        """Until the verb was called once more than ``before``."""
        wait_until(lambda: self.count(verb) > before, what=f"a call of {verb}")


def find_hanging() -> list[int]:
    """Processes of stand-ins that hang."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if entry.read_bytes() == b"sleep\x001017\0":
                found.append(int(entry.parent.name))
    return found

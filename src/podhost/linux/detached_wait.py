"""A program: run a command that leaves a process behind, and end as that process does.

``python -I -S detached_wait.py PIDFILE COMMAND…``: the command writes the process's id to PIDFILE and ends.
This program adopts the process (PR_SET_CHILD_SUBREAPER) and exits with its code, 128+N for signal N, or with the
command's own when that fails.

runc needs it: in the foreground it copies the output of an exec, until the last process that holds it has ended.
Detached, the process writes to our descriptors itself; but then it is nobody's child.
"""

import ctypes
import os
import sys

_PR_SET_CHILD_SUBREAPER = 36


def main(pid_file: str, command: list[str]) -> int:
    """Exit code."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")
    starter = os.posix_spawn(command[0], command, os.environ)
    code = _wait(starter)
    if code:
        return code
    with open(pid_file) as file:
        return _wait(int(file.read()))


def _wait(wanted: int) -> int:
    """Reap children until the wanted one has ended: others may have been left to us."""
    while True:
        pid, status = os.wait()
        if pid == wanted:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

"""How many processes and threads the machine has, and may have."""

from __future__ import annotations

from pathlib import Path

_LIMITS = ("sys/kernel/pid_max", "sys/kernel/threads-max")


def read_task_count(proc: Path = Path("/proc")) -> tuple[int, int]:
    """(running, the most there can be), as the kubelet counts.  Raises OSError, ValueError."""
    limit = min(int((proc / name).read_text()) for name in _LIMITS)
    # sysinfo(2) cannot count beyond 65535.
    _, _, total = (proc / "loadavg").read_text().split()[3].partition("/")
    return int(total), limit

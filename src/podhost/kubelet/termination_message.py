"""The message that a container leaves at its end: a file, or the end of its log."""

from __future__ import annotations

import os
from pathlib import Path

from podhost.cri.runtime import ContainerStatus
from podhost.kubelet.cri_log import LogDecoder, find_tail_offset
from podhost.kubelet.runtime_status import LABEL_TERMINATION_LOG, LABEL_TERMINATION_POLICY

MAX_MESSAGE_BYTES = 4096
MAX_POD_BYTES = 12 << 10
"""Of all containers of a pod together."""
MAX_LOG_BYTES = 2048
MAX_LOG_LINES = 80


def read_termination_message(status: ContainerStatus) -> str:
    """What the kubelet puts into ``terminated.message``; empty when there is nothing.  Blocks for a moment."""
    message = _read_end(status.labels.get(LABEL_TERMINATION_LOG, ""))
    if message or status.labels.get(LABEL_TERMINATION_POLICY) != "FallbackToLogsOnError":
        return message
    return read_log_tail(status.log_path) if status.exit_code else ""


def limit_message(message: str, containers: int) -> str:
    """What the status of a pod of so many containers has room for: the beginning (``normalizeStatus``)."""
    room = MAX_POD_BYTES // max(1, containers)
    if len(message) <= room // 4:
        return message  # No character has more than four bytes.
    return message.encode()[:room].decode(errors="ignore")


def _read_end(path: str) -> str:
    if not path:
        return ""
    try:
        # The container may have replaced nothing but content: the file is a bind mount.  Never follow a link.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        offset = max(0, os.fstat(fd).st_size - MAX_MESSAGE_BYTES)
        return os.pread(fd, MAX_MESSAGE_BYTES, offset).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def read_log_tail(path: Path) -> str:
    """The last lines of a log: at most 80, at most 2048 bytes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        size = os.fstat(fd).st_size
        offset, _ = find_tail_offset(size, MAX_LOG_LINES, lambda at, count: os.pread(fd, count, at))
        data = LogDecoder().feed(os.pread(fd, size - offset, offset))
    finally:
        os.close(fd)
    return data[-MAX_LOG_BYTES:].decode(errors="replace")

"""Commands on a real terminal: a pty of a given size."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|.\x08")
"""Control sequences, and characters that are struck over."""


@dataclass
class Terminal:
    """A process and the master side of its terminal."""

    process: subprocess.Popen[bytes]
    fd: int
    raw: str = ""
    """All that was written, with colours and cursor movements."""

    @property
    def text(self) -> str:
        """What was written without escape sequences: every frame of what is drawn again, one after the other."""
        return _ESCAPES.sub("", self.raw).replace("\r", "")

    def read_until(self, wanted: str, timeout_s: float = 30) -> str:
        """Until ``wanted`` (a regular expression) has been written; all that was written so far."""
        deadline = time.monotonic() + timeout_s
        while not re.search(wanted, self.text):
            left = deadline - time.monotonic()
            assert left > 0, f"{wanted!r} did not come:\n{self.text}"
            assert self._read(left), f"{wanted!r} did not come, the program has ended:\n{self.text}"
        return self.text

    def wait(self, timeout_s: float = 30) -> int:
        """Read to the end; the exit code."""
        while self._read(timeout_s):
            pass
        return self.process.wait(timeout_s)

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self.fd], [], [], timeout_s)[0]:
            return False
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError:
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


@contextmanager
def on_terminal(
    environment: Mapping[str, str], command: Sequence[str], *, columns: int = 80, lines: int = 24
) -> Iterator[Terminal]:
    """Run a command on a terminal of its own, so that Ctrl-C reaches it as a key."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        command,
        env={**environment, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(master)


def podhost_on_terminal(
    environment: Mapping[str, str], *args: str, columns: int = 80
) -> AbstractContextManager[Terminal]:
    return on_terminal(environment, [sys.executable, "-m", "podhost.cli.main", *args], columns=columns)

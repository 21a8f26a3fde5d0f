"""Tell whoever started the daemon that it is ready, or why it is not."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Supervisor:
    """systemd, when it started the daemon as a unit of ``Type=notify``; otherwise nobody."""

    address: str | None

    @classmethod
    def take_from(cls, environ: MutableMapping[str, str]) -> Supervisor:
        """Read ``$NOTIFY_SOCKET`` and take it away: crun and runc would make it the containers' affair."""
        return cls(environ.pop("NOTIFY_SOCKET", None))

    def tell(self, state: str) -> None:
        """``sd_notify(3)``: one datagram to the supervisor's socket."""
        if not self.address:
            return
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.connect(path)
                sock.sendall(state.encode())
            except OSError:
                # A supervisor that does not listen must not keep pods from running.
                return


def notify_starter(ready_fd: int | None, text: str) -> None:
    """One line to the descriptor that ``--ready-fd`` names: ``ready``, or the error."""
    if ready_fd is None:
        return
    try:
        os.write(ready_fd, text.rstrip("\n").encode() + b"\n")
        os.close(ready_fd)
    except OSError:
        # The starter has gone away, or closed its end early; the daemon goes on.
        return

"""Tell whoever started the daemon that it is ready, or why it is not."""

from __future__ import annotations

import os
import socket


def notify_systemd(state: str) -> None:
    """``sd_notify(3)``: one datagram to ``$NOTIFY_SOCKET``; nothing without it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect(address)
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

"""Which sysctls belong to a namespace, and so to a pod; all others are the host's.  Pure."""

from __future__ import annotations

from typing import Literal

_IPC = ("kernel.shm", "kernel.msg", "fs.mqueue.")
_IPC_EXACTLY = "kernel.sem"


def normalize_sysctl(name: str) -> str:
    """With dots between its parts: ``/`` may separate too, and whichever comes first does."""
    slash, dot = name.find("/"), name.find(".")
    if slash == -1 or (dot != -1 and dot < slash):
        return name
    return name.translate(str.maketrans("/.", "./"))


def find_sysctl_namespace(name: str) -> Literal["ipc", "net"] | None:
    """The kind of namespace that has the sysctl; ``None``: writing it would change the host."""
    dotted = normalize_sysctl(name)
    if dotted.startswith("net."):
        return "net"
    return "ipc" if dotted.startswith(_IPC) or dotted == _IPC_EXACTLY else None

"""The node's name: the host's at the first start of the instance, and kept, as pods and volumes are bound to it.

Without that they would all belong to a node that is not there once a host is called otherwise: after a DHCP lease, or
as a copy of an image.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

from podhost.errors import NotFoundError
from podhost.linux.fs import write_atomic
from podhost.store.keys import ObjectKey
from podhost.store.store import Store


def default_node_name() -> str:
    """The host's name as a Node may be called (a DNS subdomain)."""
    name = re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip("-.")
    return name or "localhost"


def read_kept_node_name(record: Path) -> str:
    """Empty before the first start."""
    try:
        return record.read_text().strip()
    except OSError:
        return ""


def keep_node_name(store: Store, name: str, record: Path) -> None:
    """Remember the name.  The Node of another one, which a user has given up, goes; its pods follow it.  Blocking."""
    before = read_kept_node_name(record)
    if before == name:
        return
    if before:
        try:
            store.delete(ObjectKey("nodes", "", before))
        except NotFoundError:
            pass  # Somebody has deleted it.
    write_atomic(record, f"{name}\n".encode())

"""Places where tests make the program fail or die on purpose.

``hit("pod.start.03-network")`` costs one global read while no failpoint is configured.  Configuration is the
environment variable ``PODHOST_FAILPOINTS`` (read at import) or :func:`set`::

    PODHOST_FAILPOINTS="pod.start.03-network=kill;store.write=error:ENOSPC;nft.apply=3*off->kill"

Actions: ``off``; ``kill`` (SIGKILL to this process); ``error:ENOSPC`` (OSError with that errno); each may be
preceded by ``N*off->``, which lets the first N hits pass, or by ``N*`` (only the next N hits, then off).
"""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass

_ACTION = re.compile(r"(?:(?P<skip>\d+)\*off->)?(?:(?P<times>\d+)\*)?(?P<kind>off|kill|error:(?P<errno>E[A-Z0-9]+))")


@dataclass(slots=True)
class _Failpoint:
    kind: str
    errno: int
    skip: int
    times: int | None


_active: dict[str, _Failpoint] = {}
_known: set[str] = set()
_lock = threading.Lock()


def register(name: str) -> str:
    """Make a name known, so that tests can walk all of them; returns it."""
    _known.add(name)
    return name


def known() -> list[str]:
    """Registered names, sorted; numbered names therefore in their order."""
    return sorted(_known)


def hit(name: str) -> None:
    """Do what is configured for ``name``; usually nothing.

    Raises:
        OSError: Configured with ``error:…``.
    """
    if _active:
        _hit_active(name)


def set(name: str, action: str) -> None:
    """Configure one failpoint.  Raises ValueError for an action that cannot be understood."""
    _active[name] = _parse(name, action)


def clear(name: str | None = None) -> None:
    """Switch one failpoint off, or all."""
    if name is None:
        _active.clear()
    else:
        _active.pop(name, None)


def configure(environ: Mapping[str, str]) -> None:
    """Add what ``PODHOST_FAILPOINTS`` says.  Raises ValueError."""
    for item in filter(None, environ.get("PODHOST_FAILPOINTS", "").split(";")):
        name, separator, action = item.partition("=")
        if not separator:
            raise ValueError(f"cannot read failpoint {item!r}: want NAME=ACTION")
        set(name.strip(), action.strip())


def _parse(name: str, action: str) -> _Failpoint:
    match = _ACTION.fullmatch(action)
    if match is None:
        raise ValueError(f"cannot read failpoint {name}={action!r}: want off, kill or error:ERRNO")
    number = 0
    if match["errno"]:
        number = getattr(errno, match["errno"], 0)
        if not number:
            raise ValueError(f"cannot read failpoint {name}={action!r}: unknown errno {match['errno']}")
    times = int(match["times"]) if match["times"] else None
    return _Failpoint(match["kind"].partition(":")[0], number, int(match["skip"] or 0), times)


def _hit_active(name: str) -> None:
    with _lock:
        point = _active.get(name)
        if point is None or point.kind == "off":
            return
        if point.skip > 0:
            point.skip -= 1
            return
        if point.times is not None:
            if point.times == 0:
                return
            point.times -= 1
    if point.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError(point.errno, f"{os.strerror(point.errno)} (failpoint {name})")


configure(os.environ)

"""SELinux: the labels of a pod's processes and files, where the pod asks for them and the kernel has it.

A label is ``user:role:type:level``.  Those that the machine's policy has for containers are the base; what a pod
says (``seLinuxOptions``) replaces parts of it.  Unless it names a level, its containers share two categories that no
other pod of the instance has, so that pods cannot read each other's files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from podhost.cri.runtime import ContainerStartError, SecurityConfig, SelinuxOptions
from podhost.linux import security_modules

_CATEGORIES = 1024
_PAIRS = _CATEGORIES * (_CATEGORIES - 1) // 2
_LEVEL = re.compile(r"s\d(-s\d)??(:c\d{1,4}(\.c\d{1,4})?(,c\d{1,4}(\.c\d{1,4})?)*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Context:
    """One label, in its parts.  Policies without levels have none."""

    user: str
    role: str
    type: str
    level: str = ""

    def __str__(self) -> str:
        return ":".join(filter(None, (self.user, self.role, self.type, self.level)))


@dataclass(frozen=True, slots=True)
class Labels:
    """Of a container's processes, and of its root and volumes; empty for none."""

    process: str = ""
    mount: str = ""


@dataclass(frozen=True, slots=True)
class Selinux:
    """What the machine's policy gives containers."""

    process: Context
    file: Context

    def choose_level(self, seed: str, taken: Collection[str]) -> str:
        """The level of a new pod; empty under a policy without levels."""
        return choose_level(seed, taken) if self.process.level else ""


def parse_context(text: str) -> Context | None:
    """``None`` for what is no label."""
    parts = text.split(":", 3)
    return Context(*parts) if len(parts) >= 3 and all(parts) else None


def choose_level(seed: str, taken: Collection[str]) -> str:
    """``s0:c1,c2``: two different categories, mostly the same ones for a seed.  Pure.

    Raises:
        ValueError: All pairs are taken.
    """
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    for step in range(_PAIRS):
        level = _format_pair((start + step) % _PAIRS)
        if level not in taken:
            return level
    raise ValueError("cannot give a pod a level of SELinux: all are taken")


def _format_pair(number: int) -> str:
    """The pairs (0,1), (0,2), (1,2), (0,3) …, numbered."""
    second = 1
    while number >= second:
        number -= second
        second += 1
    return f"s0:c{number},c{second}"


def compute_labels(policy: Selinux | None, security: SecurityConfig, level: str) -> Labels:
    """Labels of a container; none where it asks for none, or the kernel has no SELinux.  Pure.

    User and level are those of its files as well.  The processes of a privileged container have no label of theirs.

    Raises:
        ContainerStartError: The level is malformed; with containerd's words.
    """
    wanted = security.selinux
    if policy is None or wanted is None:
        return Labels()
    if wanted.level and not _LEVEL.fullmatch(wanted.level):
        shown = json.dumps(wanted.level)
        text = f"failed to get container spec opts: the format of 'level' {shown} is not correct"
        raise ContainerStartError(text, reason="CreateContainerError")
    process = _change(policy.process, wanted, level)
    file = _change(policy.file, SelinuxOptions(user=wanted.user, level=wanted.level), level)
    return Labels("" if security.privileged else str(process), str(file))


def _change(base: Context, wanted: SelinuxOptions, level: str) -> Context:
    return replace(
        base,
        user=wanted.user or base.user,
        role=wanted.role or base.role,
        type=wanted.type or base.type,
        level=wanted.level or level or base.level,
    )


def find_selinux() -> Selinux | None:
    """``None`` where the kernel has no SELinux, or its policy knows no containers (as Debian's does not).  Blocking."""
    found = security_modules.read_container_contexts() if security_modules.has_selinux() else {}
    process, file = parse_context(found.get("process", "")), parse_context(found.get("file", ""))
    if process is None or file is None or not all(map(security_modules.is_label_known, map(str, (process, file)))):
        return None
    return Selinux(process, file)


def check_labels(labels: Labels) -> None:
    """Raises ContainerStartError for a label that the policy does not know: the kernel would only say EINVAL."""
    for label in (labels.process, labels.mount):
        if label and not security_modules.is_label_known(label):
            text = f"failed to get container spec opts: SELinux's policy does not know the label {json.dumps(label)}"
            raise ContainerStartError(text, reason="CreateContainerError")

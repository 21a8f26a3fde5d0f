"""Who a container's process is: names of the image's ``/etc/passwd`` and ``/etc/group`` to numbers.

Semantics of containerd's CRI plug-in: ``runAsUser`` replaces the image's user, ``runAsGroup`` its group; the
groups that the image's ``/etc/group`` gives the user are merged with ``supplementalGroups``; the primary group is
always among the supplementary ones (CVE-2022-36109).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from podhost.cri.runtime import ContainerStartError
from podhost.linux.paths import read_file_beneath

_MAX_FILE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class PasswdEntry:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class GroupEntry:
    name: str
    gid: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResolvedUser:
    """Numbers for the OCI spec."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str


def parse_passwd(text: str) -> list[PasswdEntry]:
    """Entries of an ``/etc/passwd``; lines that are none are skipped, as the C library does."""
    entries = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= 4 and fields[2].isdigit() and fields[3].isdigit():
            home = fields[5] if len(fields) > 5 else ""
            entries.append(PasswdEntry(fields[0], int(fields[2]), int(fields[3]), home))
    return entries


def parse_group(text: str) -> list[GroupEntry]:
    """Entries of an ``/etc/group``."""
    entries = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= 3 and fields[2].isdigit():
            members = tuple(filter(None, fields[3].split(","))) if len(fields) > 3 else ()
            entries.append(GroupEntry(fields[0], int(fields[2]), members))
    return entries


def compute_user(
    image_user: str,
    run_as_user: int | None,
    run_as_group: int | None,
    supplemental_groups: tuple[int, ...],
    passwd: list[PasswdEntry],
    groups: list[GroupEntry],
    *,
    merge: bool = True,
) -> ResolvedUser:
    """Decide uid, gid and groups; without ``merge`` the image's groups of the user do not count.

    Raises:
        ContainerStartError: A name is not in the image's files.
    """
    user_text, _, group_text = image_user.partition(":")
    if run_as_user is not None:
        user_text, group_text = str(run_as_user), ""
    if run_as_group is not None:
        group_text = str(run_as_group)
    uid, entry = _find_user(user_text or "0", passwd)
    gid = _find_group(group_text, groups) if group_text else (entry.gid if entry else 0)
    member_of = {group.gid for group in groups if merge and entry is not None and entry.name in group.members}
    home = entry.home if entry is not None and entry.home else "/"
    return ResolvedUser(uid, gid, tuple(sorted({gid, *member_of, *supplemental_groups})), home)


def read_user(
    rootfs: Path,
    image_user: str,
    run_as_user: int | None,
    run_as_group: int | None,
    supplemental_groups: tuple[int, ...],
    *,
    merge: bool = True,
) -> ResolvedUser:
    """:func:`compute_user` on the files beneath ``rootfs``.  Blocking, about 0.1 ms."""
    return compute_user(
        image_user,
        run_as_user,
        run_as_group,
        supplemental_groups,
        parse_passwd(_read_text(rootfs, "etc/passwd")),
        parse_group(_read_text(rootfs, "etc/group")),
        merge=merge,
    )


def _read_text(rootfs: Path, path: str) -> str:
    try:
        return read_file_beneath(rootfs, path, _MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""  # an image without the file (distroless, scratch) only knows numbers


def _find_user(text: str, passwd: list[PasswdEntry]) -> tuple[int, PasswdEntry | None]:
    by_name = next((entry for entry in passwd if entry.name == text), None)
    if by_name is not None:
        return by_name.uid, by_name
    if not text.isdigit():
        raise ContainerStartError(
            f"unable to find user {text}: no matching entries in passwd file", reason="CreateContainerError"
        )
    uid = int(text)
    return uid, next((entry for entry in passwd if entry.uid == uid), None)


def _find_group(text: str, groups: list[GroupEntry]) -> int:
    by_name = next((entry for entry in groups if entry.name == text), None)
    if by_name is not None:
        return by_name.gid
    if not text.isdigit():
        raise ContainerStartError(
            f"unable to find group {text}: no matching entries in group file", reason="CreateContainerError"
        )
    return int(text)

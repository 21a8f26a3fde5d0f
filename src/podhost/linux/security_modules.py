"""Which of the kernel's mandatory access controls this machine has: AppArmor's profiles, SELinux' labels."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

_APPARMOR = "sys/kernel/security/apparmor"


def has_apparmor(root: Path = Path("/")) -> bool:
    """Whether the kernel confines by AppArmor's profiles, and lets us see which ones it has."""
    return _read(root / "sys/module/apparmor/parameters/enabled").startswith("Y") and (root / _APPARMOR).is_dir()


def list_apparmor_profiles(root: Path = Path("/")) -> frozenset[str]:
    """Names of the profiles that the kernel has loaded.  Raises OSError: only root may read them."""
    return frozenset(_parse_profiles((root / _APPARMOR / "profiles").read_text(errors="replace")))


def _parse_profiles(text: str) -> Iterator[str]:
    """Lines are ``name (mode)``; a name may have blanks and brackets of its own."""
    for line in text.splitlines():
        name, bracket, _ = line.rpartition(" (")
        if bracket:
            yield name


def read_own_apparmor_label() -> str:
    """The profile that this process is confined by, ``unconfined`` where there is none."""
    label = _read(Path("/proc/self/attr/apparmor/current")) or _read(Path("/proc/self/attr/current"))
    # Where SELinux answers at the older place, its label has colons.
    return "unconfined" if not label or ":" in label else label.rpartition(" (")[0] or label


def has_selinux(root: Path = Path("/")) -> bool:
    """Whether SELinux is switched on, be it enforcing or permissive: its file system is mounted then."""
    return (root / "sys/fs/selinux/enforce").exists()


def read_container_contexts(root: Path = Path("/")) -> dict[str, str]:
    """Labels that the machine's policy has for containers, by what they are for: ``process``, ``file`` …

    Distributions have them in a file for all container engines, or in the policy's own for lxc.
    """
    kind = re.search(r"^SELINUXTYPE=(\S+)", _read(root / "etc/selinux/config"), re.MULTILINE)
    places = ["usr/share/containers/selinux/contexts"]
    places += [f"etc/selinux/{kind[1]}/contexts/lxc_contexts"] if kind else []
    texts = (_read(root / place) for place in places)
    return dict(re.findall(r'^(\w+)\s*=\s*"([^"\n]+)"', next(filter(None, texts), ""), re.MULTILINE))


def is_label_known(label: str) -> bool:
    """Whether the loaded policy has all parts of a label; they must also fit each other."""
    try:
        fd = os.open("/sys/fs/selinux/context", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, label.encode() + b"\0")
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def relabel_tree(top: Path, label: str) -> None:
    """Give a file, or a directory with all that is in it, a label of SELinux.  Blocking.

    Symbolic links are labelled, never followed.  What goes away meanwhile, and a file system that keeps no labels,
    are no error.  Raises OSError.
    """
    value = label.encode()
    if not top.is_dir():
        _relabel(str(top), value)
        return
    for _, directories, files, directory_fd in os.fwalk(top, follow_symlinks=False):
        for name in (".", *files, *(each for each in directories if _is_link(each, directory_fd))):
            _relabel(f"/proc/self/fd/{directory_fd}/{name}", value)


def _is_link(name: str, directory_fd: int) -> bool:
    try:
        os.readlink(name, dir_fd=directory_fd)
    except OSError:
        return False
    return True


def _relabel(path: str, value: bytes) -> None:
    try:
        os.setxattr(path, "security.selinux", value, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.EROFS):
            raise


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\n\0 ")
    except OSError:
        return ""

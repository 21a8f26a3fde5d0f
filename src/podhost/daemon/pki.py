"""podhost's own certificate authority: the API's server certificate and the administrator's.

Files lie in the instance's ``pki`` directory, keys readable by root only.  The server certificate is made anew
whenever the names it must carry change.  A child process makes and checks them, as the library for it takes 8 MiB;
it leaves a *voucher* of what it has seen, and while that holds (same files, names, not too old) it is not asked again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from podhost.linux import spawn


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pki:
    """What the daemon and the kubeconfig need."""

    ca: KeyPair
    server: KeyPair
    admin: KeyPair

    @property
    def voucher(self) -> Path:
        return self.ca.certificate.with_name("checked.json")


class _Voucher(msgspec.Struct, frozen=True):
    """The server's names, until when (seconds since the epoch) all is good, and the SHA-256 of each file."""

    names: list[str]
    renew_at_s: float
    files: dict[str, str]


def list_pki(directory: Path) -> Pki:
    """Where the files are, or will be."""
    return Pki(*(KeyPair(directory / f"{name}.crt", directory / f"{name}.key") for name in ("ca", "server", "admin")))


def find_account_key(directory: Path) -> Path:
    """Where the key of ServiceAccount tokens is, or will be."""
    return directory / "sa.key"


def build_voucher(pki: Pki, names: Iterable[str], renew_at_s: float) -> bytes:
    """What the voucher file of these files says.  Raises OSError."""
    return msgspec.json.encode(_Voucher(sorted(names), renew_at_s, _compute_digests(pki)))


async def ensure_pki(directory: Path, *, server_names: tuple[str, ...]) -> Pki:
    """Make what is missing, outdated or lacks one of ``server_names`` (DNS names and addresses), and the key of tokens.

    Raises:
        CommandError: It cannot be made.
    """
    pki = list_pki(directory)
    if not is_vouched(pki, server_names):
        argv = spawn.build_python_argv("podhost.daemon.certificates")
        await spawn.run([*argv, str(directory), *server_names])
    return pki


def is_vouched(pki: Pki, names: tuple[str, ...]) -> bool:
    """Whether the files are known to be good without a look into them.  Blocking; they are small."""
    try:
        voucher = msgspec.json.decode(pki.voucher.read_bytes(), type=_Voucher)
        same = voucher.files == _compute_digests(pki)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return False
    return same and set(names) <= set(voucher.names) and time.time() < voucher.renew_at_s


def _compute_digests(pki: Pki) -> dict[str, str]:
    paths = [path for pair in (pki.ca, pki.server, pki.admin) for path in (pair.certificate, pair.key)]
    paths.append(find_account_key(pki.ca.key.parent))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

"""The key that signs ServiceAccount tokens, as the daemon holds it: with no library loaded for it.

:mod:`podhost.daemon.certificates` makes it.  Where Python's OpenSSL cannot be asked, or the file is no good, the
library for certificates is loaded: it takes 12 MiB, and makes a new key where there was none.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from podhost.apiserver.account_tokens import AccountKey
from podhost.daemon.pki import find_account_key
from podhost.linux.libcrypto import P256_BYTES, P256Key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec


class LibraryKey:
    """Implements :class:`podhost.apiserver.account_tokens.AccountKey` with the library."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @cached_property
    def public_der(self) -> bytes:
        from cryptography.hazmat.primitives import serialization

        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.DER, form)

    def sign(self, message: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        numbers = utils.decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return b"".join(number.to_bytes(P256_BYTES) for number in numbers)


def load_account_key(directory: Path) -> AccountKey:
    """The key in the instance's ``pki`` directory; made if it is not there.  Blocking, for a millisecond if it is."""
    try:
        return P256Key(find_account_key(directory).read_bytes())
    except (OSError, ValueError):
        from podhost.daemon.certificates import ensure_account_key

        return LibraryKey(ensure_account_key(directory))

"""The key of tokens: the same whoever signs with it, and signed with before any library is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from podhost.aiokit.clock import FakeClock
from podhost.apiserver.account_tokens import ISSUER, AccountKey, AccountTokens
from podhost.daemon.account_key import LibraryKey, load_account_key
from podhost.daemon.certificates import ensure_account_key
from podhost.daemon.pki import find_account_key
from podhost.linux import libcrypto
from podhost.linux.libcrypto import P256Key
from podhost.store import ObjectKey, Store

SIGN_ONE = """
import sys
from pathlib import Path
from podhost.daemon.account_key import load_account_key
assert len(load_account_key(Path(sys.argv[1])).sign(b"message")) == 64
print(*sorted({"cryptography", "jwt"} & set(sys.modules)))
"""


def make_token(path: Path, key: AccountKey) -> str:
    store = Store(path, FakeClock())
    metadata = {"name": "bot", "namespace": "ns", "uid": "u"}
    account = store.create(ObjectKey("serviceaccounts", "ns", "bot"), {"metadata": metadata})
    tokens = AccountTokens(store, FakeClock(), lambda: key)
    token = tokens.issue(account, audiences=("vault", "ü")).token
    assert tokens.verify(token, ("ü",)) is not None
    assert tokens.verify(token[:-8] + "AAAAAAAA", ("ü",)) is None
    store.close()
    return token


@pytest.mark.parametrize("kind", [P256Key, LibraryKey])
def test_tokens_are_good_for_others_and_after_a_change_of_signer(tmp_path: Path, kind: type) -> None:
    made = ensure_account_key(tmp_path)
    key = load_account_key(tmp_path) if kind is P256Key else LibraryKey(made)
    assert isinstance(key, kind)
    token = make_token(tmp_path / "objects.db", key)
    claims = jwt.decode(
        token, made.public_key(), ["ES256"], audience="vault", issuer=ISSUER, options={"verify_exp": False}
    )
    assert claims["sub"] == "system:serviceaccount:ns:bot"
    other = LibraryKey(made) if kind is P256Key else load_account_key(tmp_path)
    assert other.public_der == key.public_der


def test_no_library_is_loaded_to_sign(tmp_path: Path) -> None:
    ensure_account_key(tmp_path)
    done = subprocess.run([sys.executable, "-c", SIGN_ONE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_where_libcrypto_cannot_be_asked_the_library_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("cannot sign with libcrypto: it is linked into the interpreter")

    made = ensure_account_key(tmp_path)
    monkeypatch.setattr(libcrypto, "_load", refuse)
    key = load_account_key(tmp_path)
    assert isinstance(key, LibraryKey)
    jwt.decode(
        make_token(tmp_path / "db", key), made.public_key(), ["ES256"], audience="vault", options={"verify_exp": False}
    )


def encode_other_curve() -> bytes:
    form = serialization.PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


@pytest.mark.parametrize("damage", [None, b"not a key", encode_other_curve()], ids=["gone", "broken", "another curve"])
def test_a_key_that_is_no_good_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    path = find_account_key(tmp_path)
    if damage is not None:
        path.write_bytes(damage)
    key = load_account_key(tmp_path)
    stored = ensure_account_key(tmp_path).public_key()
    token = make_token(tmp_path / "db", key)
    jwt.decode(token, stored, ["ES256"], audience="vault", options={"verify_exp": False})
    assert load_account_key(tmp_path).public_der == key.public_der

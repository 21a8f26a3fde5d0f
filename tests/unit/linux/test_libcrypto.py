"""Signatures by the OpenSSL of Python's ssl, judged by another library."""

from __future__ import annotations

import _ssl
import ssl

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils

from podhost.linux import libcrypto
from podhost.linux.libcrypto import P256Key

KEY = ec.generate_private_key(ec.SECP256R1())


def encode(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, passphrase: str = ""
) -> bytes:
    protection = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


@pytest.fixture(autouse=True)
def no_errors_left() -> object:
    yield
    # What libcrypto noted would end the next TLS handshake of this thread.
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()).do_handshake()


def test_signatures_are_good_whatever_the_length_of_their_numbers() -> None:
    key = P256Key(encode(KEY))
    for number in range(600):  # One in 256 has an r that begins with a zero byte, as many an s.
        message = b"m" * number
        signature = key.sign(message)
        assert len(signature) == 64
        pair = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
        KEY.public_key().verify(utils.encode_dss_signature(*pair), message, ec.ECDSA(hashes.SHA256()))


def test_the_public_half_is_that_of_the_key() -> None:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    assert P256Key(encode(KEY)).public_der == KEY.public_key().public_bytes(serialization.Encoding.DER, form)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "no private key in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key in PEM form"),
        (encode(KEY)[:-60], "no private key in PEM form"),
        (encode(KEY, "secret"), "no private key in PEM form"),
        (encode(ec.generate_private_key(ec.SECP384R1())), "not of the curve P-256"),
        (encode(ed25519.Ed25519PrivateKey.generate()), "not of the curve P-256"),
        (encode(rsa.generate_private_key(65537, 2048)), "not of the curve P-256"),
    ],
    ids=["empty", "garbage", "cut", "encrypted", "P-384", "Ed25519", "RSA"],
)
def test_other_keys_are_refused(pem: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        P256Key(pem)


def test_an_interpreter_with_openssl_inside_is_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    libcrypto._load.cache_clear()
    monkeypatch.delattr(_ssl, "__file__")
    with pytest.raises(OSError, match="linked into the interpreter"):
        P256Key(encode(KEY))


def test_a_libcrypto_without_a_function_is_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    libcrypto._load.cache_clear()
    monkeypatch.setitem(libcrypto._SIGNATURES, "EVP_of_tomorrow", (None, ()))
    with pytest.raises(OSError, match="it has no EVP_of_tomorrow"):
        P256Key(encode(KEY))

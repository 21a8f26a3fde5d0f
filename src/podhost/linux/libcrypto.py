"""Signatures by the OpenSSL that Python's ``ssl`` has in memory anyway: no other library, no child process.

Only signing with a key of our own making is here.  What strangers send (signatures, certificates) is read by the
library for it.  All functions have been in libcrypto, with these types, since OpenSSL 1.1.1.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager

_POINTER, _SIZE, _BYTES = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
_INT, _LONG = ctypes.c_int, ctypes.c_long
_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "BIO_new_mem_buf": (_POINTER, (_BYTES, _INT)),
    "BIO_free": (_INT, (_POINTER,)),
    "PEM_read_bio_PrivateKey": (_POINTER, (_POINTER, _POINTER, _POINTER, _BYTES)),
    "i2d_PUBKEY": (_INT, (_POINTER, _POINTER)),
    "EVP_PKEY_free": (None, (_POINTER,)),
    "EVP_MD_CTX_new": (_POINTER, ()),
    "EVP_MD_CTX_free": (None, (_POINTER,)),
    "EVP_sha256": (_POINTER, ()),
    "EVP_DigestSignInit": (_INT, (_POINTER, _POINTER, _POINTER, _POINTER, _POINTER)),
    "EVP_DigestSign": (_INT, (_POINTER, _BYTES, ctypes.POINTER(_SIZE), _BYTES, _SIZE)),
    "d2i_ECDSA_SIG": (_POINTER, (_POINTER, ctypes.POINTER(_POINTER), _LONG)),
    "ECDSA_SIG_get0_r": (_POINTER, (_POINTER,)),
    "ECDSA_SIG_get0_s": (_POINTER, (_POINTER,)),
    "ECDSA_SIG_free": (None, (_POINTER,)),
    "BN_bn2binpad": (_INT, (_POINTER, _BYTES, _INT)),
    "ERR_clear_error": (None, ()),
}
"""Name → (result, arguments)."""
_NO_PASSPHRASE = b""
"""Given, so that an encrypted key is refused; without it OpenSSL would ask the terminal."""
_P256_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""Before x and y in the DER form of each public key of this curve (RFC 5480)."""
P256_BYTES = 32
"""Length of a coordinate, and of each half of a signature."""
_MAX_SIGNATURE_BYTES = 80
"""In DER form: at most 72."""


class P256Key:
    """A private key for ECDSA on P-256 with SHA-256 (``ES256``), which lives as long as the process."""

    def __init__(self, pem: bytes) -> None:
        """Reads PEM, unencrypted.

        Raises:
            ValueError: It is no such key.
            OSError: Python brings no libcrypto that can be asked (as when OpenSSL is linked into the interpreter).
        """
        self._lib = _load()
        with self._errors_cleared():
            self._key = self._read(pem)
            self.public_der = self._encode_public()
        if not self.public_der.startswith(_P256_PREFIX):
            self._lib.EVP_PKEY_free(self._key)
            raise ValueError("cannot use key for ES256: it is not of the curve P-256")

    def sign(self, message: bytes) -> bytes:
        """r and s, 32 bytes each.  Takes 25 µs.

        Raises:
            OSError: libcrypto could not.
        """
        with self._errors_cleared():
            return self._split(self._sign_der(message))

    @contextmanager
    def _errors_cleared(self) -> Iterator[None]:
        """What libcrypto has noted must not be taken for an error of a TLS connection by Python's ``ssl``."""
        try:
            yield
        finally:
            self._lib.ERR_clear_error()

    def _read(self, pem: bytes) -> int:
        source = self._lib.BIO_new_mem_buf(pem, len(pem))
        try:
            key: int | None = self._lib.PEM_read_bio_PrivateKey(source, None, None, _NO_PASSPHRASE)
        finally:
            self._lib.BIO_free(source)
        if not key:
            raise ValueError("cannot read key: it is no private key in PEM form")
        return key

    def _encode_public(self) -> bytes:
        length = self._lib.i2d_PUBKEY(self._key, None)
        if length <= 0:
            raise ValueError("cannot read key: it has no public half")
        buffer = ctypes.create_string_buffer(length)
        end = ctypes.c_void_p(ctypes.addressof(buffer))
        self._lib.i2d_PUBKEY(self._key, ctypes.byref(end))
        return buffer.raw

    def _sign_der(self, message: bytes) -> bytes:
        context = self._lib.EVP_MD_CTX_new()
        try:
            signature, length = ctypes.create_string_buffer(_MAX_SIGNATURE_BYTES), _SIZE(_MAX_SIGNATURE_BYTES)
            _check(self._lib.EVP_DigestSignInit(context, None, self._lib.EVP_sha256(), None, self._key))
            _check(self._lib.EVP_DigestSign(context, signature, ctypes.byref(length), message, len(message)))
            return signature.raw[: length.value]
        finally:
            self._lib.EVP_MD_CTX_free(context)

    def _split(self, der: bytes) -> bytes:
        start = ctypes.cast(ctypes.c_char_p(der), _POINTER)
        pair = self._lib.d2i_ECDSA_SIG(None, ctypes.byref(start), len(der))
        _check(pair)
        try:
            halves = []
            for number in (self._lib.ECDSA_SIG_get0_r(pair), self._lib.ECDSA_SIG_get0_s(pair)):
                half = ctypes.create_string_buffer(P256_BYTES)
                _check(self._lib.BN_bn2binpad(number, half, P256_BYTES) == P256_BYTES)
                halves.append(half.raw)
            return b"".join(halves)
        finally:
            self._lib.ECDSA_SIG_free(pair)


def _check(result: int | None) -> None:
    if not result or result < 0:
        raise OSError("cannot sign: libcrypto refused")


@functools.cache
def _load() -> ctypes.CDLL:
    """The libcrypto that ``ssl`` is linked with, with the types of what is called.  Raises OSError."""
    import _ssl

    module = getattr(_ssl, "__file__", None)
    if module is None:
        raise OSError("cannot sign with libcrypto: it is linked into the interpreter")
    # Names are looked up in the module and in what it is linked with, so this is the copy that is in use already.
    library = ctypes.CDLL(module)
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise OSError(f"cannot sign with libcrypto: it has no {name}") from error
        function.restype, function.argtypes = result, arguments
    return library

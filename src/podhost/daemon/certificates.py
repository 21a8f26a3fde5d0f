"""Makes and checks the files of :mod:`podhost.daemon.pki`, in a process of its own, and the key of tokens.

ECDSA P-256 throughout: keys are made in a millisecond.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podhost.daemon.pki import KeyPair, Pki, build_voucher, find_account_key, list_pki
from podhost.linux.fs import write_atomic

_CA_LIFETIME = dt.timedelta(days=3650)
_LEAF_LIFETIME = dt.timedelta(days=825)
_RENEW_BEFORE = dt.timedelta(days=60)
_CLOCK_SKEW = dt.timedelta(hours=1)


def make_pki(directory: Path, *, server_names: tuple[str, ...]) -> Pki:
    """Make what is missing, outdated or lacks one of ``server_names`` (DNS names and addresses)."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pki = list_pki(directory)
    renewed = not _is_current(pki.ca)
    if renewed:
        _write_authority(pki.ca)
    if renewed or not _is_current(pki.server) or not set(server_names) <= _alternative_names(pki.server):
        _write_leaf(pki, pki.server, "podhost", "podhost", ExtendedKeyUsageOID.SERVER_AUTH, server_names)
    if renewed or not _is_current(pki.admin):
        _write_leaf(pki, pki.admin, "podhost-admin", "system:masters", ExtendedKeyUsageOID.CLIENT_AUTH, ())
    return pki


def main() -> None:
    """Arguments: the directory, then the server's names."""
    directory, *names = sys.argv[1:]
    pki = make_pki(Path(directory), server_names=tuple(names))
    ensure_account_key(Path(directory))  # Made here, so that the daemon only reads it for its first token.
    renew_at = min(_read_end(pair) for pair in (pki.ca, pki.server, pki.admin)) - _RENEW_BEFORE
    voucher = build_voucher(pki, _alternative_names(pki.server), renew_at.timestamp())
    write_atomic(pki.voucher, voucher, mode=0o600)


def _read_end(pair: KeyPair) -> dt.datetime:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).not_valid_after_utc


def ensure_account_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """The key that signs ServiceAccount tokens; a new one ends all tokens."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = find_account_key(directory)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            return key
    except (OSError, ValueError):
        pass
    key = ec.generate_private_key(ec.SECP256R1())
    write_atomic(path, _encode_key(key), mode=0o600)
    return key


def _is_current(pair: KeyPair) -> bool:
    """Whether both files are there, belong together, and are good for a while."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    except (OSError, ValueError):
        return False
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        return False
    return certificate.not_valid_after_utc - _RENEW_BEFORE > dt.datetime.now(dt.UTC)


def _alternative_names(pair: KeyPair) -> set[str]:
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _subject(common_name: str, organization: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(subject: x509.Name, issuer: x509.Name, lifetime: dt.timedelta) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _write_pair(pair: KeyPair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    write_atomic(pair.key, _encode_key(key), mode=0o600)
    write_atomic(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _encode_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_authority(pair: KeyPair) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject("podhost-ca", "podhost")
    certificate = (
        _builder(name, name, _CA_LIFETIME)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_pair(pair, certificate, key)


def _write_leaf(
    pki: Pki,
    pair: KeyPair,
    common_name: str,
    organization: str,
    usage: x509.ObjectIdentifier,
    names: tuple[str, ...],
) -> None:
    authority = x509.load_pem_x509_certificate(pki.ca.certificate.read_bytes())
    authority_key = serialization.load_pem_private_key(pki.ca.key.read_bytes(), None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_subject(common_name, organization), authority.subject, _LEAF_LIFETIME)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    _write_pair(pair, builder.sign(authority_key, hashes.SHA256()), key)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from podhost.daemon.certificates import make_pki
from podhost.daemon.listeners import build_tls_context

NAMES = ("localhost", "127.0.0.1", "host.example")


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    first = make_pki(tmp_path, server_names=NAMES)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert make_pki(tmp_path, server_names=NAMES[:2]) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_new_name_renews_the_server_certificate_only(tmp_path: Path) -> None:
    made = make_pki(tmp_path, server_names=NAMES)
    before = {pair: pair.certificate.read_bytes() for pair in (made.ca, made.server, made.admin)}
    make_pki(tmp_path, server_names=(*NAMES, "10.0.0.1"))
    after = {pair: pair.certificate.read_bytes() for pair in (made.ca, made.server, made.admin)}
    assert after[made.ca] == before[made.ca]
    assert after[made.admin] == before[made.admin]
    assert after[made.server] != before[made.server]


@pytest.mark.parametrize("damage", ["ca.key", "ca.crt"])
def test_a_damaged_authority_renews_everything(tmp_path: Path, damage: str) -> None:
    made = make_pki(tmp_path, server_names=NAMES)
    (tmp_path / damage).write_text("not a certificate")
    make_pki(tmp_path, server_names=NAMES)
    authority = x509.load_pem_x509_certificate(made.ca.certificate.read_bytes())
    for pair in (made.server, made.admin):
        x509.load_pem_x509_certificate(pair.certificate.read_bytes()).verify_directly_issued_by(authority)


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    made = make_pki(tmp_path, server_names=NAMES)
    assert {pair.key.stat().st_mode & 0o777 for pair in (made.ca, made.server, made.admin)} == {0o600}


def test_the_administrator_is_a_master_and_clients_may_come_without_a_certificate(tmp_path: Path) -> None:
    made = make_pki(tmp_path, server_names=NAMES)
    subject = x509.load_pem_x509_certificate(made.admin.certificate.read_bytes()).subject.rfc4514_string()
    assert subject == "CN=podhost-admin,O=system:masters"
    assert build_tls_context(made).verify_mode is ssl.CERT_OPTIONAL

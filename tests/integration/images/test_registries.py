"""What ``registries.conf``, ``auth.json``, ``certs.d`` and credential helpers say of registries: shown with real ones.

skopeo reads these files; the tests have a home of their own for it.
"""

from __future__ import annotations

import base64
import http.server
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from podhost.cri.images import AuthConfig, ImagePullError
from podhost.images.service import ImageStore
from podhost.images.settings import ImageSettings
from registry import PASSWORD, USER, Registry, make_tar, running_registry

FAR = "far.test"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """skopeo's; made before the store, which hands its environment on."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def configure(home: Path, text: str) -> None:
    write(home / ".config/containers/registries.conf", text)


def auth_of(password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}


def push(registry: Registry, *, under: str = "") -> str:
    name = f"{under}{secrets.token_hex(4)}"
    registry.push_image(name, "1", [make_tar(("file", name.encode()))])
    return f"{name}:1"


async def refusal(store: ImageStore, ref: str, *auths: AuthConfig) -> str:
    with pytest.raises(ImagePullError) as caught:
        await store.pull_image(ref, auths=auths)
    return str(caught.value)


async def test_plain_http_needs_insecure_but_on_loopback(store: ImageStore, home: Path, registry: Registry) -> None:
    name = push(registry)
    table = f'[[registry]]\nprefix = "{FAR}"\nlocation = "{registry.host}"\n'
    configure(home, table)
    assert "server gave HTTP response to HTTPS client" in await refusal(store, f"{FAR}/{name}")
    configure(home, f"{table}insecure = true\n")
    assert (await store.pull_image(f"{FAR}/{name}")).repo_tags == (f"{FAR}/{name}",)


async def test_a_blocked_registry_is_not_asked(store: ImageStore, home: Path, registry: Registry) -> None:
    configure(home, f'[[registry]]\nlocation = "{registry.host}"\nblocked = true\n')
    said = await refusal(store, f"{registry.host}/{push(registry)}")
    assert f"registry {registry.host} is blocked in" in said


async def test_a_prefix_with_a_star_covers_all_hosts_below(store: ImageStore, home: Path, registry: Registry) -> None:
    name = push(registry, under="team/")
    configure(home, f'[[registry]]\nprefix = "*.{FAR}"\nlocation = "{registry.host}"\ninsecure = true\n')
    for host in (f"a.{FAR}", f"b.a.{FAR}"):
        assert await store.pull_image(f"{host}/{name}")
    assert "dial tcp: lookup" in await refusal(store, f"{FAR}/{name}")


async def test_a_short_name_is_docker_hubs_whatever_aliases_say(
    store: ImageStore, home: Path, registry: Registry
) -> None:
    """As in Kubernetes; the registry itself may be somewhere else."""
    name = push(registry, under="library/")
    short = name.removeprefix("library/")
    hub = f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry.host}"\ninsecure = true\n'
    alias = f'[aliases]\n"{short.removesuffix(":1")}" = "nobody.test/x"\n'
    configure(home, f'unqualified-search-registries = ["nobody.test"]\n{hub}{alias}')
    assert (await store.pull_image(short)).repo_tags == (f"docker.io/{name}",)


def mirrored(home: Path, mirror: Registry) -> None:
    mirror_table = f'[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = true\n'
    configure(home, f'[[registry]]\nprefix = "{FAR}"\nlocation = "127.0.0.1:9"\n{mirror_table}')


async def test_a_mirror_has_credentials_of_its_own(
    store: ImageStore, home: Path, registry_with_password: Registry
) -> None:
    mirror = registry_with_password
    mirrored(home, mirror)
    name = push(mirror)
    for_far = AuthConfig(username="somebody", password="of far.test", server_address=FAR)
    for_mirror = AuthConfig(username=USER, password=PASSWORD, server_address=mirror.host)
    assert "connection refused" in await refusal(store, f"{FAR}/{name}"), (
        "the mirror refuses, the registry is not there"
    )
    assert "connection refused" in await refusal(store, f"{FAR}/{name}", for_far)
    assert await store.pull_image(f"{FAR}/{name}", auths=(for_far, for_mirror))
    assert await store.pull_image(f"{FAR}/{push(mirror)}", auths=(for_mirror,))
    write(home / ".config/containers/auth.json", {"auths": {mirror.host: auth_of(PASSWORD)}})
    assert await store.pull_image(f"{FAR}/{push(mirror)}"), "the daemon's own"
    assert await store.pull_image(f"{FAR}/{push(mirror)}", auths=(for_far,)), "and beside a pod's"


async def test_the_first_auth_file_that_knows_the_registry_counts(
    store: ImageStore, home: Path, tmp_path: Path, registry_with_password: Registry
) -> None:
    host = registry_with_password.host
    files = [
        tmp_path / "run/containers/auth.json",
        home / ".config/containers/auth.json",
        home / ".docker/config.json",
    ]
    for path in files:
        write(path, {"auths": {host: auth_of("a guess")}})
    name = push(registry_with_password)
    assert "authentication required" in await refusal(store, f"{host}/{name}")
    for index, path in enumerate(files):
        write(path, {"auths": {host: auth_of(PASSWORD)}})
        assert await store.pull_image(f"{host}/{push(registry_with_password)}"), path
        write(path, {"auths": {"other.test": auth_of("x")}})
        if index + 1 < len(files):
            assert "authentication required" in await refusal(store, f"{host}/{push(registry_with_password)}")


async def test_a_credential_helper_is_asked_for_the_daemons_pulls(
    store: ImageStore, settings: ImageSettings, home: Path, registry_with_password: Registry,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    host = registry_with_password.host
    answer = json.dumps({"ServerURL": host, "Username": USER, "Secret": PASSWORD})
    helper = write(
        tmp_path / "bin/docker-credential-kept", f"#!/bin/sh\n[ \"$(cat)\" = '{host}' ] && echo '{answer}'\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(helper.parent), prepend=":")
    write(home / ".config/containers/auth.json", {"credHelpers": {host: "kept"}})
    await store.close()
    again = ImageStore(settings)
    await again.open()
    assert await again.pull_image(f"{host}/{push(registry_with_password)}")
    for_other = AuthConfig(username="x", password="y", server_address="other.test")
    assert await again.pull_image(f"{host}/{push(registry_with_password)}", auths=(for_other,))
    await again.close()


async def test_a_registrys_authority_is_taken_from_certs_d(store: ImageStore, home: Path, tmp_path: Path) -> None:
    with running_registry(tmp_path / "private", password=True, tls_address="127.0.0.1") as private:
        name = push(private)
        configure(home, f'[[registry]]\nprefix = "{FAR}"\nlocation = "{private.host}"\n')
        for_name = AuthConfig(username=USER, password=PASSWORD, server_address=FAR)
        auth = AuthConfig(username=USER, password=PASSWORD, server_address=private.host)
        said = await refusal(store, f"{FAR}/{name}", auth)
        assert "x509: certificate signed by unknown authority" in said
        assert private.ca is not None
        write(home / f".config/containers/certs.d/{private.host}/ca.crt", private.ca.read_text())
        assert "authentication required" in await refusal(store, f"{FAR}/{name}", for_name), "nobody else gets those"
        assert await store.pull_image(f"{FAR}/{name}", auths=(auth,))


class TokenServer:
    """OAuth2 for a registry: gives an access token for the refresh token that it knows, and for nothing else."""

    def __init__(self, directory: Path) -> None:
        self.refresh_token = secrets.token_urlsafe(16)
        self.asked: list[dict[str, list[str]]] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        now = datetime.now(UTC)
        until = now + timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number(), now, until)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.bundle = directory / "bundle.pem"
        self.bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    @contextmanager
    def running(self) -> Iterator[TokenServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def sign(self, scope: str) -> str:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        der = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [der]}
        claims = {
            "iss": "tests", "aud": "registry", "sub": "somebody", "exp": now + 600, "nbf": now - 10, "iat": now,
            "jti": secrets.token_hex(8),
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}] if kind else [],
        }  # fmt: skip
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        numbers = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64url(b''.join(number.to_bytes(32, 'big') for number in numbers))}"

    def _make_handler(server: TokenServer) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self._read_chunks().decode())
                server.asked.append(form)
                if form.get("refresh_token") != [server.refresh_token]:
                    self.send_error(401)
                    return
                scope = (form.get("scope") or [""])[0]
                data = json.dumps({"access_token": server.sign(scope), "expires_in": 300}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _read_chunks(self) -> bytes:
                """skopeo does not say beforehand how long its question is."""
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                return data

            def do_GET(self) -> None:
                self.send_error(401)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def test_an_identity_token_is_exchanged_for_access(store: ImageStore, tmp_path: Path) -> None:
    with TokenServer(tmp_path).running() as tokens:
        with running_registry(tmp_path / "tokens") as unlocked:
            name = push(unlocked)
        auth = f"realm: '{tokens.url}', service: registry, issuer: tests, rootcertbundle: '{tokens.bundle}'"
        with running_registry(tmp_path / "tokens", extra=f"auth: {{token: {{{auth}}}}}\n") as locked:
            ref = f"{locked.host}/{name}"
            assert "pull access denied" in await refusal(store, ref)
            wrong = AuthConfig(identity_token="a guess", server_address=locked.host)
            assert "pull access denied" in await refusal(store, ref, wrong)
            right = AuthConfig(identity_token=tokens.refresh_token, server_address=locked.host)
            assert await store.pull_image(ref, auths=(wrong, right))
    assert {form["grant_type"][0] for form in tokens.asked} == {"refresh_token"}

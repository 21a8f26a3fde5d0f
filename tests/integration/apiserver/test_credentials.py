"""Credentials that are not good, and none at all: nothing but health and version is served, and nothing breaks."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from podhost.apiserver.routing import Access

PUBLIC = re.compile(r"/(healthz|livez|readyz)(/[^/]+)?|/version")
LIST = "/api/v1/namespaces/kube-system/secrets"


@pytest.fixture
async def stranger(api: Any, pki: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Nobody in particular, over TLS."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    connector = aiohttp.TCPConnector(ssl=context, limit=4)
    async with aiohttp.ClientSession(f"https://localhost:{api.port}", connector=connector) as session:
        yield session


def routed_paths(api: Any) -> Iterator[tuple[str, str, bool]]:
    """Method and a path for each route, and whether anybody may ask."""
    nodes = [api.server._router._root]
    while nodes:
        node = nodes.pop()
        nodes += [*node.literals.values(), *([node.placeholder] if node.placeholder else [])]
        for route, _ in node.routes.values():
            yield route.method, re.sub(r"\{[^}]*\}", "x", route.pattern), route.access is Access.PUBLIC


async def test_no_route_but_health_and_version_answers_strangers(api: Any, stranger: aiohttp.ClientSession) -> None:
    paths = list(routed_paths(api))
    assert len(paths) > 250
    for method, path, public in paths:
        assert public == bool(PUBLIC.fullmatch(path)), path
        async with stranger.request(method, path, data=b"{}", allow_redirects=False) as response:
            if public:
                assert response.status in (200, 404), path
            else:
                assert response.status == 401, f"{method} {path}"
                assert method == "HEAD" or (await response.json())["reason"] == "Unauthorized"


async def test_no_document_of_discovery_or_openapi_is_told_to_strangers(
    http: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    async def ask(path: str) -> Any:
        async with http.get(path) as response:
            assert response.status == 200, path
            return await response.json()

    groups = [group["versions"] for group in (await ask("/apis"))["groups"]]
    versions = ["/api/v1", *(f"/apis/{version['groupVersion']}" for each in groups for version in each)]
    documents = (await ask("/openapi/v3"))["paths"].values()
    paths = ["/api", "/apis", "/openapi/v2", "/openapi/v3", *versions]
    paths += [document["serverRelativeURL"] for document in documents]
    for version in versions:
        for resource in (await ask(version))["resources"]:
            if not resource["namespaced"] and "/" not in resource["name"]:
                paths.append(f"{version}/{resource['name']}")
    assert len(paths) > 35
    for path in paths:
        async with stranger.get(path) as response:
            assert response.status == 401, path


def encode(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


CLAIMS = {
    "iss": "https://kubernetes.default.svc",
    "aud": ["https://kubernetes.default.svc"],
    "sub": "system:serviceaccount:kube-system:default",
    "exp": 9999999999,
    "kubernetes.io": {"namespace": "kube-system", "serviceaccount": {"name": "default", "uid": "x"}},
}
GARBAGE = (
    *("Bearer", "Bearer ", "Bearer  x", "bearer x", "Bearer x y", "Basic YWRtaW46YWRtaW4=", "Negotiate x", "x"),
    *("Bearer a.b.c", "Bearer ..", "Bearer " + "x" * 100_000, "Bearer \xff\xfe", "Bearer é", "Bearer carol-token2"),
    f"Bearer {encode({'alg': 'none'})}.{encode(CLAIMS)}.",
    f"Bearer {encode({'alg': 'HS256'})}.{encode(CLAIMS)}.{encode('x')}",
    f"Bearer {encode({'alg': 'ES256'})}.{encode(CLAIMS)}.{'A' * 86}",
    f"Bearer {encode({'alg': 'ES256'})}.{encode([])}.{'A' * 86}",
    f"Bearer {encode([])}.{encode(1)}.!!!",
)


@pytest.mark.parametrize("value", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_in_place_of_a_token_is_nobody(
    stranger: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    async with stranger.get(LIST, headers={"Authorization": value}) as response:
        assert response.status in (400, 401), await response.text()
        assert "token" not in (await response.text()).replace("bearer token", "")
    assert "a request failed unexpectedly" not in caplog.text


async def test_a_token_that_is_good_counts_in_no_other_form(stranger: aiohttp.ClientSession) -> None:
    for headers in (
        [("Authorization", "Token carol-token")],
        [("Authorization", "carol-token")],
        [("X-Authorization", "Bearer carol-token")],
        [("Cookie", "Authorization=Bearer carol-token")],
        [("X-Remote-User", "kubernetes-admin"), ("X-Remote-Group", "system:masters")],
    ):
        async with stranger.get(LIST, headers=headers) as response:
            assert response.status == 401, headers
    impersonating = {"Impersonate-User": "kubernetes-admin", "Impersonate-Group": "system:masters"}
    async with stranger.get(LIST, headers=impersonating) as response:
        assert response.status == 403
    async with stranger.get(f"{LIST}?access_token=carol-token&token=carol-token") as response:
        assert response.status == 401
    async with stranger.get(LIST, headers={"Authorization": "Bearer carol-token"}) as response:
        assert response.status == 403, "carol is known, and may not"


def make_certificate(pki: Path, directory: Path, flaw: str) -> tuple[str, str]:
    """An administrator's client certificate, but for a flaw."""
    authority = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    if flaw == "self-signed" or flaw == "another authority of the same name":
        signer = key if flaw == "self-signed" else ec.generate_private_key(ec.SECP256R1())
    oid = x509.oid.NameOID
    subject = x509.Name(
        [
            x509.NameAttribute(oid.ORGANIZATION_NAME, "system:masters"),
            x509.NameAttribute(oid.COMMON_NAME, "kubernetes-admin"),
        ]
    )
    now, day = datetime.now(UTC), timedelta(days=1)
    begin, end = {"expired": (-2, -1), "not yet valid": (1, 2)}.get(flaw, (-1, 1))
    usage = x509.oid.ExtendedKeyUsageOID
    use = usage.SERVER_AUTH if flaw == "for servers" else usage.CLIENT_AUTH
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if flaw == "self-signed" else authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin * day)
        .not_valid_after(now + end * day)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    paths = directory / "client.crt", directory / "client.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(*private))
    return str(paths[0]), str(paths[1])


FLAWS = ("expired", "not yet valid", "self-signed", "another authority of the same name", "for servers", "")


@pytest.mark.parametrize("flaw", FLAWS)
async def test_a_certificate_with_a_flaw_is_worth_nothing(api: Any, pki: Path, tmp_path: Path, flaw: str) -> None:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(*make_certificate(pki, tmp_path, flaw))
    status = 0
    async with aiohttp.ClientSession(f"https://localhost:{api.port}") as session:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(LIST, ssl=context) as response:
                status = response.status
    assert status == (0 if flaw else 200), "the handshake fails"
    assert (await api.kubectl("get", "secrets"))[0] == 0


SECRET = "hush-hush-hush"
BROKEN_SECRETS: tuple[bytes, ...] = (
    json.dumps({"metadata": {"name": "s"}, "data": {"k": SECRET}}).encode(),
    json.dumps({"metadata": {"name": "s"}, "stringData": {"k": {"x": SECRET}}}).encode(),
    json.dumps({"metadata": {"name": "s"}, "stringData": [SECRET]}).encode(),
    json.dumps({"metadata": {"name": "s"}, "data": {"bad key!": base64.b64encode(SECRET.encode()).decode()}}).encode(),
    b'{"metadata": {"name": "s"}, "stringData": {"k": "' + SECRET.encode() + b'"',
    b"stringData: {k: " + SECRET.encode() + b"\n",
    json.dumps({"metadata": {"name": "s"}, "stringData": {"k": SECRET}, "type": "kubernetes.io/tls"}).encode(),
)


class TestAudit:
    """What the audit log has of secrets and tokens."""

    @pytest.fixture
    def events(self) -> list[dict[str, Any]]:
        return []

    @pytest.fixture
    def api_settings(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        class Sink:
            def record(self, event: dict[str, Any]) -> None:
                events.append(event)

        return {"audit": Sink()}

    async def test_no_secret_and_no_token_gets_into_it(
        self, api: Any, http: aiohttp.ClientSession, stranger: aiohttp.ClientSession, events: list[dict[str, Any]]
    ) -> None:
        path = "/api/v1/namespaces/default/secrets"
        good = {"metadata": {"name": "good"}, "stringData": {"k": SECRET}}
        async with http.post(path, json=good) as response:
            assert response.status == 201
        for kind in ("merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"):
            patch = {"apiVersion": "v1", "kind": "Secret", "stringData": {"k": f"{SECRET}-{kind}"}}
            headers = {"Content-Type": f"application/{kind}"}
            async with http.patch(
                f"{path}/good?fieldManager=m&force=true" if "apply" in kind else f"{path}/good",
                json=patch,
                headers=headers,
            ) as response:
                await response.read()
        for body in BROKEN_SECRETS:
            for kind in ("json", "yaml"):
                headers = {"Content-Type": f"application/{kind}"}
                async with http.post(path, data=body, headers=headers) as response:
                    await response.read()
        for url in (path, f"{path}?watch=1&timeoutSeconds=1", f"{path}/good"):
            async with http.get(url) as response:
                assert base64.b64encode(SECRET.encode()).rstrip(b"=")[:-1] in await response.read()
        account = "/api/v1/namespaces/default/serviceaccounts"
        async with http.post(account, json={"metadata": {"name": "robot"}}) as response:
            assert response.status in (201, 409)
        async with http.post(f"{account}/robot/token", json={"spec": {}}) as response:
            token = (await response.json())["status"]["token"]
        async with stranger.get(LIST, headers={"Authorization": f"Bearer {token}"}) as response:
            assert response.status == 403
        text = json.dumps(events)
        assert len(events) > 20
        assert token not in text
        assert token.split(".")[2] not in text
        assert SECRET not in text
        assert base64.b64encode(SECRET.encode()).decode() not in text

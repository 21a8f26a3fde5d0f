"""A real API server on a unix socket and on TLS, without a kubelet; a fake node that runs commands on the host."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from podhost.aiokit.clock import SystemClock
from podhost.api.errors import ApiError
from podhost.apiserver import ApiServer, ApiServerSettings, DaemonHooks
from podhost.apiserver.authn import parse_token_file
from podhost.apiserver.tls_site import TlsSite
from podhost.controllers import AccessController
from podhost.controllers.namespaces import NAMESPACES, build_namespace
from podhost.controllers.objects import API_SERVER, ensure_created
from podhost.cri.ids import ImageId
from podhost.cri.images import AuthConfig, Image, ImageConfig, ImagePullError, ProgressCallback, PullProgress
from podhost.cri.node import ByteStream, LogOptions, NodeAnswer
from podhost.cri.runtime import ExecSession
from podhost.daemon.account_key import LibraryKey
from podhost.errors import NotFoundError, PodhostError, UnavailableError
from podhost.kubelet.port_forward import NobodyListensError, SocketStream, connect_in_namespace
from podhost.store import ObjectKey, Store

KUBECTL = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}") or "kubectl"


class HostSession:
    """A command on the host, as an ExecSession; a terminal is not imitated."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._chunks: asyncio.Queue[tuple[Literal["stdout", "stderr"], bytes] | None] = asyncio.Queue(8)
        self._pumps = asyncio.gather(self._pump("stdout"), self._pump("stderr"))
        self._pumps.add_done_callback(lambda _: self._end())
        self.sizes: list[tuple[int, int]] = []
        self.closed = False

    async def _pump(self, name: Literal["stdout", "stderr"]) -> None:
        reader = self._process.stdout if name == "stdout" else self._process.stderr
        assert reader is not None
        while data := await reader.read(65536):
            await self._chunks.put((name, data))

    def _end(self) -> None:
        if not self._pumps.cancelled():
            asyncio.get_running_loop().create_task(self._chunks.put(None))

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        return await self._chunks.get()

    async def write_stdin(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def close_stdin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def wait(self) -> int:
        return await self._process.wait()

    async def close(self) -> None:
        self.closed = True
        if self._process.returncode is None:
            self._process.kill()
        self._pumps.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pumps
        # Output that nobody has read would keep ``wait`` waiting.
        self._process._transport.close()  # type: ignore[attr-defined]
        await self._process.wait()


@dataclass
class FakeNodeHttp:
    """A kubelet with one path of its own."""

    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    paths: tuple[str, ...] = ("/healthz",)

    async def get(self, path: str, query: Mapping[str, str]) -> NodeAnswer | None:
        self.asked.append((path, dict(query)))
        return NodeAnswer("text/plain", b"ok") if path in self.paths else None


@dataclass
class FakeNode:
    """The node: containers are the host; logs are what a test puts here."""

    http: FakeNodeHttp = field(default_factory=FakeNodeHttp)
    lines: list[bytes] = field(default_factory=list)
    follow: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    log_calls: list[LogOptions] = field(default_factory=list)
    sessions: list[HostSession] = field(default_factory=list)
    connections: list[SocketStream] = field(default_factory=list)
    followers: int = 0
    error: PodhostError | ApiError | None = None

    async def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        self.log_calls.append(options)

        async def chunks() -> AsyncIterator[bytes]:
            self.followers += 1
            try:
                for line in self.lines:
                    yield line
                while options.follow and (more := await self.follow.get()) is not None:
                    yield more
            finally:
                self.followers -= 1

        return chunks()

    async def exec(
        self, namespace: str, pod: str, container: str, command: tuple[str, ...], *, tty: bool, stdin: bool
    ) -> ExecSession:
        if self.error is not None:
            raise self.error
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe if stdin else asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        self.sessions.append(HostSession(process))
        return self.sessions[-1]

    async def attach(self, namespace: str, pod: str, container: str, *, tty: bool, stdin: bool) -> ExecSession:
        return await self.exec(namespace, pod, container, ("echo", "attached"), tty=tty, stdin=stdin)

    async def port_forward(self, namespace: str, pod: str, port: int) -> ByteStream:
        """As to a pod on the host's network."""
        try:
            stream = await connect_in_namespace(None, port)
        except NobodyListensError as error:
            raise UnavailableError(f"error forwarding port {port}: {error}") from error
        self.connections.append(stream)
        return stream


def image(name: str) -> Image:
    return Image(
        id=ImageId("sha256:" + "1" * 64),
        repo_tags=(name,),
        repo_digests=(),
        size_bytes=5,
        created_at="2026-01-01T00:00:00Z",
        architecture="amd64",
        os="linux",
        config=ImageConfig(cmd=("sh",)),
    )


class FakeImages:
    """An image store that has whatever was pulled."""

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        self.watchers: list[ProgressCallback] = []

    def image_status(self, ref: str) -> Image | None:
        return self.images.get(ref)

    def list_images(self) -> list[Image]:
        return list(self.images.values())

    async def pull_image(
        self, ref: str, *, auths: tuple[AuthConfig, ...] = (), progress: ProgressCallback | None = None
    ) -> Image:
        if "absent" in ref:
            raise ImagePullError(f'cannot pull "{ref}": manifest unknown')
        if progress is not None:
            progress(PullProgress(ref=ref, phase="downloading", done_bytes=1, total_bytes=5))
        self.images[ref] = image(ref)
        return self.images[ref]

    def subscribe_pulls(self, callback: ProgressCallback) -> Callable[[], None]:
        self.watchers.append(callback)
        callback(PullProgress(ref="already/running", phase="unpacking"))
        return lambda: self.watchers.remove(callback)

    async def load_image(
        self, source: str, *, name: str | None = None, progress: ProgressCallback | None = None
    ) -> list[Image]:
        return [image(name or source)]

    async def build_image(
        self, context: Path, *, name: str, containerfile: Path | None = None, output: Any = None
    ) -> Image:
        output(b"STEP 1\n")
        return image(name)

    async def tag_image(self, source: str, name: str) -> Image:
        return image(name)

    async def remove_image(self, ref: str) -> None:
        if self.images.pop(ref, None) is None:
            raise NotFoundError(f'cannot remove image "{ref}": no such image')

    async def prune(self) -> tuple[int, int]:
        return 2, 100


@dataclass
class Api:
    """A running server and the ways to reach it."""

    directory: Path
    server: ApiServer
    store: Store
    node: FakeNode
    images: FakeImages
    port: int
    stopped: list[Mapping[str, Any]]
    runner: web.AppRunner

    @property
    def socket(self) -> Path:
        return self.directory / "podhost.sock"

    async def kubectl(self, *args: str, stdin: bytes = b"", user: str = "admin") -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        process = await self.start_kubectl(*args, user=user)
        async with asyncio.timeout(30):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def start_kubectl(self, *args: str, user: str = "admin") -> asyncio.subprocess.Process:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "KUBECONFIG": str(self.directory / f"{user}.kubeconfig"),
        }
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            KUBECTL, *args, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
        )

    async def ok(self, *args: str, stdin: bytes = b"") -> str:
        code, out, err = await self.kubectl(*args, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(args)}: {err}"
        assert "--validate=false" not in err
        return out

    async def json(self, *args: str) -> Any:
        return json.loads(await self.ok(*args, "-o", "json"))

    def bind(self, name: str) -> None:
        """As a scheduler and a kubelet would: the pod runs on the node."""

        def run(pod: dict[str, Any]) -> dict[str, Any]:
            pod["spec"]["nodeName"] = "node1"
            pod["status"] |= {"phase": "Running", "podIP": "10.1.2.3", "hostIP": "10.0.0.1"}
            return pod

        self.store.mutate(ObjectKey("pods", "default", name), run)


def _certificate(
    name: str, groups: tuple[str, ...], issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    oid = x509.oid.NameOID
    subject = x509.Name(
        [
            *(x509.NameAttribute(oid.ORGANIZATION_NAME, group) for group in groups),
            x509.NameAttribute(oid.COMMON_NAME, name),
        ]
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    if issuer:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key())
        builder = builder.add_extension(authority, critical=False)
    else:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _write_pair(
    directory: Path, name: str, pair: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]
) -> tuple[str, str]:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    certificate.write_bytes(pair[0].public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        pair[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(certificate), str(key)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    authority = _certificate("test-ca", (), None)
    _write_pair(directory, "ca", authority)
    _write_pair(directory, "server", _certificate("server", (), authority))
    _write_pair(directory, "admin", _certificate("kubernetes-admin", ("system:masters",), authority))
    _write_pair(directory, "bob", _certificate("bob", ("users",), authority))
    return directory


def _kubeconfig(pki: Path, port: int, user: str) -> str:
    credentials = (
        {}
        if user == "nobody"
        else {
            "client-certificate": str(pki / f"{user}.crt"),
            "client-key": str(pki / f"{user}.key"),
        }
    )
    cluster = {"server": f"https://localhost:{port}", "certificate-authority": str(pki / "ca.crt")}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": credentials}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )


@pytest.fixture
async def http(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(api.socket))
    async with aiohttp.ClientSession("http://podhost", connector=connector) as session:
        yield session


@pytest.fixture
def api_settings() -> dict[str, Any]:
    """Settings of the server that a module wants to be different."""
    return {}


@pytest.fixture
async def api(pki: Path, api_settings: dict[str, Any]) -> AsyncIterator[Api]:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    directory = Path(tempfile.mkdtemp(prefix="podhost-api-"))
    clock = SystemClock()
    store = Store(directory / "store.db", clock)
    node, images = FakeNode(), FakeImages()
    stopped: list[Mapping[str, Any]] = []

    async def stop(body: Mapping[str, Any]) -> None:
        stopped.append(body)

    hooks = DaemonHooks(kubeconfig=lambda: "kind: Config\n", info=lambda: {"version": "9"}, stop=stop)
    settings = ApiServerSettings(
        instance="test",
        node_name="n1",
        service_cidr="10.96.0.0/24",
        account_key=functools.cache(lambda: LibraryKey(ec.generate_private_key(ec.SECP256R1()))),
        token_users=parse_token_file("carol-token,carol,9,devs\n"),
        **{"watch_write_timeout_s": 1.0, **api_settings},
    )
    server = ApiServer(store, clock, node, images, settings, hooks)
    roles = AccessController(store, clock)
    await roles.start()
    for name in ("default", "kube-system"):
        ensure_created(store, clock, ObjectKey(NAMESPACES, "", name), build_namespace(name), API_SERVER)
    runner = server.build_runner()
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    await web.UnixSite(runner, str(directory / "podhost.sock")).start()
    listener = socket.create_server(("127.0.0.1", 0))
    await TlsSite(runner, listener, context, backlog=1024).start()
    port = listener.getsockname()[1]
    for user in ("admin", "bob", "nobody"):
        (directory / f"{user}.kubeconfig").write_text(_kubeconfig(pki, port, user))
    yield Api(directory, server, store, node, images, port, stopped, runner)
    await runner.cleanup()
    await roles.stop()
    store.close()
    shutil.rmtree(directory)
    assert not complaints, "what the event loop would have written into the daemon's log"

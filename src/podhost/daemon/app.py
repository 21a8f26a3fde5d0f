"""The daemon's life: start the engine, open the sockets, wait, and leave as asked."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podhost.aiokit import failpoint
from podhost.aiokit.clock import Clock, SystemClock
from podhost.api.deletion import DeleteOptions
from podhost.api.errors import ApiError
from podhost.api.kinds import kind_by_resource
from podhost.apiserver.audit_log import AuditLog
from podhost.apiserver.audit_policy import EVERYTHING, AuditPolicy, parse_policy
from podhost.apiserver.authn import User, parse_token_file
from podhost.apiserver.limits import RequestLimits
from podhost.apiserver.server import ApiServer
from podhost.apiserver.settings import ApiServerSettings, DaemonHooks
from podhost.cri.ids import PodUID
from podhost.daemon import listeners
from podhost.daemon.engine import (
    API_HOST,
    DNS_HOST,
    Engine,
    build_plan,
    cgroup_parent,
    remove_cgroups,
    remove_network,
    start_controllers,
    start_dns,
    start_engine,
)
from podhost.daemon.instance import Instance, leave_no_trace, socket_group_id
from podhost.daemon.kubeconfig import build_kubeconfig
from podhost.daemon.machine_stop import MAX_GRACE_S, is_machine_stopping, stop_containers
from podhost.daemon.memory import MemoryTidy
from podhost.daemon.notify import Supervisor, notify_starter
from podhost.daemon.pki import Pki, ensure_pki
from podhost.daemon.settings import DaemonSettings
from podhost.daemon.start_undo import STEP_CONTROLLERS, STEP_PLAN, STEP_SERVING, STEP_SOCKETS, StartUndo
from podhost.errors import ConflictError, ExhaustedError, InvalidError
from podhost.kubelet.node_api import KubeletNodeApi
from podhost.kubelet.node_http import KubeletHttp
from podhost.kubelet.node_stats import NodeStats
from podhost.kubelet.pod_stop import compute_grace_s
from podhost.linux.descriptors import read_descriptor_limit
from podhost.linux.usage import read_cgroup_use
from podhost.network.plan import NetworkPlan

_log = logging.getLogger(__name__)


async def run_daemon(settings: DaemonSettings, instance: Instance, supervisor: Supervisor) -> None:
    """Run until a signal or a stop request.  A daemon that cannot start leaves as little behind as one that ends."""
    nothing_runs = False
    failure: Exception | None = None
    try:
        async with AsyncExitStack() as outermost:
            undo = StartUndo(is_new=instance.is_new)
            try:
                engine = await _start(settings, instance, outermost, undo)
            except Exception:
                nothing_runs = await undo.take_back()
                raise
            MemoryTidy(engine.store).start(outermost)
            try:
                await _serve(settings, engine, supervisor, outermost)
            except Exception as error:
                failure = error
            nothing_runs = await _leave(engine)
    finally:
        if nothing_runs:
            await asyncio.to_thread(remove_cgroups, settings)
            await asyncio.to_thread(leave_no_trace, settings, instance)
    if failure is not None:
        raise failure
    _log.info("stopped")


async def _start(settings: DaemonSettings, instance: Instance, stack: AsyncExitStack, undo: StartUndo) -> Engine:
    plan = await asyncio.to_thread(build_plan, settings)
    undo.push(lambda: remove_network(settings, plan))
    failpoint.hit(STEP_PLAN)
    host = instance.host_mount_namespace
    return await start_engine(settings, plan, SystemClock(), stack, undo, host_namespace=host)


async def _serve(settings: DaemonSettings, engine: Engine, supervisor: Supervisor, stack: AsyncExitStack) -> None:
    clock = SystemClock()
    listening = await _open_listeners(settings, engine.plan, stack)
    failpoint.hit(STEP_SOCKETS)
    shutdown = Shutdown()
    audit = await _open_audit_log(settings, stack)
    server = _build_server(settings, engine, listening, shutdown, clock, audit)
    ca_pem = listening.pki.ca.certificate.read_text()
    await start_dns(engine, stack, *listening.dns)
    ports = {"api_port": listening.port, "dns_port": listening.dns[0].getsockname()[1]}
    await start_controllers(engine, settings, clock, stack, ca_pem=ca_pem, **ports)
    failpoint.hit(STEP_CONTROLLERS)
    runner = server.build_runner()
    unix = listeners.bind_unix(settings.socket_path, socket_group_id())
    stack.callback(settings.socket_path.unlink, missing_ok=True)
    stack.callback(unix.close)
    stack.push_async_callback(runner.cleanup)
    await listeners.serve(runner, unix, listening.tcp, listeners.build_tls_context(listening.pki))
    failpoint.hit(STEP_SERVING)
    with shutdown.listening_to_signals():
        _log.info("instance %s is ready at %s and %s", settings.instance, settings.socket_path, listening.address)
        supervisor.tell(f"READY=1\nMAINPID={os.getpid()}")
        notify_starter(settings.ready_fd, "ready")
        await shutdown.requested.wait()
    supervisor.tell("STOPPING=1")
    await runner.cleanup()
    settings.socket_path.unlink(missing_ok=True)


async def _leave(engine: Engine) -> bool:
    """Containers go on for the next daemon to adopt; without pods every trace goes, and the answer is True."""
    pods, _ = engine.store.list("pods")
    if not pods:
        await engine.remove_traces()
        return True
    if await is_machine_stopping():
        await engine.kubelet.stop()
        await engine.kubelet.stop_containers(MAX_GRACE_S)
        await stop_containers(engine.runtime, pods)
    return False


@dataclass(frozen=True, slots=True)
class _Listening:
    """The API's TLS sockets with the certificates that they show, and the name server's two."""

    tcp: list[socket.socket]
    port: int
    pki: Pki
    dns: tuple[socket.socket, socket.socket]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


async def _open_listeners(settings: DaemonSettings, plan: NetworkPlan, stack: AsyncExitStack) -> _Listening:
    """On loopback for users, on the gateway for pods."""
    loopback = listeners.bind_api_port(settings.api_port, settings.data_dir / "api-port")
    stack.callback(loopback.close)
    port = loopback.getsockname()[1]
    gateway = listeners.bind_tcp(str(plan.gateway), port)
    stack.callback(gateway.close)
    names = (
        *("localhost", "127.0.0.1", settings.node_name, str(plan.gateway), str(plan.service_cidr[API_HOST])),
        *("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"),
    )
    pki = await ensure_pki(settings.data_dir / "pki", server_names=names)
    dns = listeners.bind_dns(str(plan.gateway), settings.data_dir / "dns-port")
    for sock in dns:
        stack.callback(sock.close)
    return _Listening([loopback, gateway], port, pki, dns)


def _build_server(
    settings: DaemonSettings,
    engine: Engine,
    listening: _Listening,
    shutdown: Shutdown,
    clock: Clock,
    audit: AuditLog | None,
) -> ApiServer:
    plan, address = engine.plan, listening.address
    facts = {"dataDir": str(settings.data_dir), "bridge": plan.bridge, "podCIDR": str(plan.pod_cidr)}
    hooks = DaemonHooks(
        kubeconfig=lambda: build_kubeconfig(listening.pki, instance=settings.instance, server=f"https://{address}"),
        info=lambda: facts,
        stop=lambda body: shutdown.on_stop_request(body, engine, server),
    )
    api_settings = ApiServerSettings(
        instance=settings.instance,
        node_name=settings.node_name,
        service_cidr=str(plan.service_cidr),
        node_port_range=plan.node_ports,
        server_addresses=(address,),
        account_key=engine.account_key,
        token_users=_read_token_users(settings.token_auth_file),
        audit=audit,
        missing_modules=engine.runtime.list_missing_modules(),
        audit_policy=_read_audit_policy(settings.audit_policy_file),
        limits=compute_limits(settings, read_descriptor_limit()),
        reserved_cluster_ips=(str(plan.service_cidr[API_HOST]), str(plan.service_cidr[DNS_HOST])),
    )
    stats = NodeStats(engine.kubelet, engine.usage, lambda: read_cgroup_use(cgroup_parent(settings)))
    node = KubeletNodeApi(engine.kubelet, KubeletHttp(engine.kubelet, stats))
    server = ApiServer(engine.store, clock, node, engine.images, api_settings, hooks, engine.channels, engine.usage)
    return server


async def _open_audit_log(settings: DaemonSettings, stack: AsyncExitStack) -> AuditLog | None:
    """Raises InvalidError: the file cannot be written."""
    path = settings.audit_log_path
    if path is None:
        return None
    bounds = {
        "max_bytes": settings.audit_log_max_bytes,
        "max_backups": settings.audit_log_max_backups,
        "max_age_days": settings.audit_log_max_age_days,
    }
    try:
        log = await asyncio.to_thread(AuditLog.open, path, **bounds)
    except OSError as error:
        raise InvalidError(f"cannot write the audit log {path}: {error.strerror}") from error
    log.start()
    stack.push_async_callback(asyncio.to_thread, log.close)
    return log


def _read_audit_policy(path: Path | None) -> AuditPolicy:
    """Raises InvalidError: the file cannot be read, or not understood."""
    if path is None:
        return EVERYTHING
    try:
        return parse_policy(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError(f"cannot read the audit policy {path}: {error.strerror}") from error
    except (InvalidError, UnicodeDecodeError) as error:
        raise InvalidError(f"cannot use the audit policy {path}: {error}") from error


def compute_limits(settings: DaemonSettings, descriptors: int) -> RequestLimits:
    """What clients may ask for at once; containers keep at least half of the descriptors."""
    usual = RequestLimits()
    connections = min(usual.connections, max(descriptors // 2, 64))
    return RequestLimits(
        reading=settings.max_requests_inflight,
        mutating=settings.max_mutating_requests_inflight,
        streams_per_user=settings.max_streams_per_user,
        connections=connections,
        connections_per_peer=min(settings.max_connections_per_client, connections * 3 // 4),
        body_s=settings.request_timeout_s,
        answer_s=settings.request_timeout_s,
        stall_s=settings.streaming_idle_timeout_s or None,
        min_watch_s=settings.min_request_timeout_s,
    )


def _read_token_users(path: Path | None) -> dict[str, User]:
    """Raises InvalidError: the file cannot be read, or not understood."""
    if path is None:
        return {}
    try:
        return parse_token_file(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError(f"cannot read the token file {path}: {error.strerror}") from error


class Shutdown:
    """Collects wishes to end: signals, and requests that may ask for the pods' removal first."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()

    def listening_to_signals(self) -> _Signals:
        return _Signals(self)

    async def on_stop_request(self, body: Mapping[str, Any], engine: Engine, server: ApiServer) -> None:
        """``{"pods": "refuse" | "remove" | "leave"}``.

        Raises:
            InvalidError: Another word.
            ConflictError: There are pods, and nobody said what shall become of them.
        """
        wish = body.get("pods", "refuse")
        if wish not in ("refuse", "remove", "leave"):
            raise InvalidError(f'cannot stop: "pods" must be "refuse", "remove" or "leave", not {wish!r}')
        if wish == "leave":
            self.requested.set()
            return
        pods, _ = engine.store.list("pods")
        if pods and wish == "refuse":
            names = ", ".join(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in pods[:5])
            more = f" and {len(pods) - 5} more" if len(pods) > 5 else ""
            raise ConflictError(f"cannot stop: there are still pods: {names}{more}")
        await _remove_pods(engine, server)
        self.requested.set()


async def _remove_pods(engine: Engine, server: ApiServer) -> None:
    """Delete all pods with their own grace periods, and wait until they have gone."""
    engine.kubelet.release_static_pods()
    watch = engine.store.watch("pods")
    try:
        kind = kind_by_resource("", "v1", "pods")
        assert kind is not None
        for pod in engine.store.list("pods")[0]:
            metadata = pod["metadata"]
            try:
                try:
                    server.registry.delete(kind, metadata["namespace"], metadata["name"], DeleteOptions())
                except ExhaustedError:
                    await _end_unwritten(engine, metadata["uid"])
                    server.registry.delete(kind, metadata["namespace"], metadata["name"], DeleteOptions())
            except ApiError as error:
                # Gone in between, which is what was wanted.
                _log.debug("while stopping: %s", error)
        while engine.store.list("pods")[0]:
            await anext(watch)
    finally:
        watch.close()


async def _end_unwritten(engine: Engine, uid: str) -> None:
    """The full disk refuses the deletion: first what the pod holds of it goes."""
    worker = engine.kubelet.find_worker(PodUID(uid))
    if worker is not None:
        worker.evict("The daemon stops", grace_s=compute_grace_s(worker.pod))
        await worker.wait_released()


class _Signals:
    """SIGTERM and SIGINT end the daemon; containers go on."""

    def __init__(self, shutdown: Shutdown) -> None:
        self._shutdown = shutdown

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._shutdown.requested.set)

    def __exit__(self, *exc: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

"""The engine of one instance: everything that runs pods, below the API's sockets.

:func:`start_engine` starts the parts in the order in which they need each other and registers the stop of
each on an exit stack, so that they stop in reverse.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from podhost.aiokit import failpoint
from podhost.aiokit.clock import Clock
from podhost.api.kinds import STORED_KINDS, kind_by_gvk
from podhost.apiserver.account_tokens import AccountKey, AccountTokens
from podhost.channels.observer import ChannelObserver
from podhost.controllers.access import AccessController
from podhost.controllers.builtin_services import BuiltinServiceController, build_api_service, build_dns_service
from podhost.controllers.endpoint_slices import EndpointSliceController
from podhost.controllers.garbage import GarbageCollector
from podhost.controllers.namespaces import NamespaceController
from podhost.controllers.orphaned_pods import OrphanedPodController
from podhost.controllers.persistent_volumes import PersistentVolumeController
from podhost.controllers.priority_classes import PriorityClassController
from podhost.controllers.scheduler import Scheduler
from podhost.controllers.service_accounts import ServiceAccountController
from podhost.controllers.taint_eviction import TaintEvictionController
from podhost.cri.ids import SandboxId
from podhost.cri.runtime import ContainerState, SandboxState
from podhost.daemon.account_key import load_account_key
from podhost.daemon.node_name import keep_node_name
from podhost.daemon.pod_tokens import PodTokens
from podhost.daemon.read_only_programs import show_crun_read_only
from podhost.daemon.settings import DaemonSettings
from podhost.daemon.start_undo import STEP_IMAGES, STEP_KUBELET, STEP_NETWORK, STEP_PROXY, STEP_STORE, StartUndo
from podhost.dns.server import DnsServer
from podhost.dns.settings import DnsSettings
from podhost.images.service import ImageStore
from podhost.images.settings import ImageSettings
from podhost.images.snapshotter import OverlaySnapshotter
from podhost.kubelet.kubelet import Kubelet
from podhost.kubelet.node_context import read_resolv_conf
from podhost.kubelet.recovery import recover_orphans
from podhost.kubelet.settings import BackoffSettings, KubeletSettings
from podhost.kubelet.usage import UsageObserver
from podhost.linux import cgroup
from podhost.linux.machine import read_machine_id, read_os_name, read_system_uuid
from podhost.linux.netlink import RouteSocket
from podhost.linux.pidfd import boot_id
from podhost.network.bridge import BridgeNetwork
from podhost.network.plan import NetworkPlan, PlanWishes, claim_bridge, ensure_plan
from podhost.network.settings import NetworkSettings, build_link_prefix
from podhost.proxy.proxy import Proxy
from podhost.proxy.settings import ProxySettings
from podhost.runtime.service import OciRuntimeService
from podhost.runtime.settings import RuntimeSettings
from podhost.store.event_expiry import EventExpiry
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.volumes.image_volume import ImageSource
from podhost.volumes.local_volumes import LocalVolumes
from podhost.volumes.manager import VolumeManager
from podhost.volumes.settings import VolumeSettings

API_HOST, DNS_HOST = 1, 10
"""Which address of the service network API and name server have, as everywhere."""
_READABLE = {
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "PersistentVolume": "persistentvolumes",
}


@dataclass(frozen=True, slots=True)
class StoreReader:
    """:class:`podhost.cri.volumes.ObjectReader` on the store."""

    store: Store

    def read(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self.store.find(ObjectKey(_READABLE[kind], namespace, name))


@dataclass(slots=True)
class SandboxNames:
    """Names sandboxes for people, once the runtime that knows them is there."""

    runtime: OciRuntimeService | None = None

    def describe(self, sandbox_id: SandboxId) -> str:
        """``pod default/web``."""
        for sandbox in self.runtime.list_pod_sandboxes() if self.runtime is not None else ():
            if sandbox.id == sandbox_id:
                return f"pod {sandbox.namespace}/{sandbox.name}"
        return f"pod sandbox {sandbox_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The running parts that the API and the shutdown need."""

    plan: NetworkPlan
    store: Store
    images: ImageStore
    network: BridgeNetwork
    proxy: Proxy
    runtime: OciRuntimeService
    kubelet: Kubelet
    account_key: Callable[[], AccountKey]
    channels: ChannelObserver
    usage: UsageObserver

    async def remove_traces(self) -> None:
        """Take away what outlives a daemon on purpose.  Only when no pod is left in the store.

        A pod deleted without grace leaves the store before its containers have gone: they are orphans, and
        removed like those that a start finds.
        """
        await self.kubelet.stop()
        await recover_orphans(self.kubelet.context, lambda uid: False)
        await self.proxy.teardown()
        await self.network.teardown()


def build_plan(settings: DaemonSettings) -> NetworkPlan:
    """The instance's networks, chosen at its first start.  Blocking.  Raises InvalidError, ExhaustedError."""
    wishes = PlanWishes(
        bridge=settings.bridge,
        pod_cidr=IPv4Network(settings.pod_cidr) if settings.pod_cidr else None,
        service_cidr=IPv4Network(settings.service_cidr) if settings.service_cidr else None,
        node_ports=settings.node_ports,
    )
    return ensure_plan(
        settings.data_root, settings.instance, wishes, claim=lambda plan: claim_bridge(plan, settings.data_dir)
    )


def observe_host_addresses(own_bridge: str) -> tuple[str, ...]:
    """The host's addresses that others may know it by, in the order of its links; loopback when it has none."""
    with RouteSocket() as route:
        names = {link.index: link.name for link in route.links()}
        addresses = [
            str(entry.address)
            for entry in route.addresses()
            if not entry.address.is_loopback and not entry.address.is_link_local
            if not names.get(entry.index, "").startswith(("ph", own_bridge, "docker", "cni", "virbr", "br-"))
        ]
    return tuple(addresses) or ("127.0.0.1",)


async def start_engine(
    settings: DaemonSettings,
    plan: NetworkPlan,
    clock: Clock,
    stack: AsyncExitStack,
    undo: StartUndo,
    *,
    host_namespace: Path,
) -> Engine:
    """Start everything but the sockets.

    The stack stops what had started, at each end of the daemon; ``undo`` takes back, from a start that fails, what
    the stop leaves.  ``host_namespace`` is the mount namespace of the host, which is not the daemon's.
    """
    store = Store(settings.data_dir / "objects.db", clock)
    stack.callback(store.close)
    keep_node_name(store, settings.node_name, settings.node_name_record)
    expiry = EventExpiry(store, clock)
    expiry.start()
    stack.callback(expiry.stop)
    failpoint.hit(STEP_STORE)

    image_settings = ImageSettings(
        root=settings.images_dir, instance=settings.instance, layers_dir=settings.data_dir / "layers"
    )
    images = ImageStore(image_settings)
    await images.open()
    stack.push_async_callback(images.close)
    failpoint.hit(STEP_IMAGES)

    names = SandboxNames()
    network = BridgeNetwork(_network_settings(settings, plan), describe=names.describe)
    runtime = names.runtime = OciRuntimeService(
        await asyncio.to_thread(show_crun_read_only, _runtime_settings(settings), settings.run_dir / "programs"),
        snapshotter=OverlaySnapshotter(images, image_settings),
        find_image=images.image_status,
        network=network,
        clock=clock,
    )
    stack.push_async_callback(network.close)
    stack.push_async_callback(runtime.close)
    # Its records say which sandboxes live; it has the network recover with exactly these.
    await runtime.recover()
    undo.may_pods_live = lambda: _lives_anything(runtime)
    failpoint.hit(STEP_NETWORK)

    proxy = Proxy(store, _proxy_settings(plan), _recorder(store, clock, settings, "podhost-proxy"))
    account_key = functools.cache(functools.partial(load_account_key, settings.data_dir / "pki"))
    tokens = PodTokens(store, clock, AccountTokens(store, clock, account_key))
    stack.callback(tokens.close)
    sources = ImageSource(snapshotter=OverlaySnapshotter(images, image_settings), find_image=images.image_status)
    volumes = VolumeManager(
        _volume_settings(settings, host_namespace), StoreReader(store), tokens=tokens, images=sources
    )
    host_ips = await asyncio.to_thread(observe_host_addresses, plan.bridge)
    kubelet = Kubelet(
        _kubelet_settings(settings, plan, host_ips),
        store,
        runtime,
        images,
        volumes,
        _recorder(store, clock, settings, "kubelet"),
        clock,
    )
    tokens.on_due = kubelet.refresh_volumes
    undo.push(proxy.teardown)
    stack.push_async_callback(proxy.stop)
    await proxy.start()
    failpoint.hit(STEP_PROXY)
    undo.quiesce = kubelet.stop
    stack.push_async_callback(kubelet.stop)
    await kubelet.start()
    failpoint.hit(STEP_KUBELET)
    channels = ChannelObserver(
        store,
        runtime,
        _recorder(store, clock, settings, "podhost-channels"),
        clock,
        host_addresses=(str(plan.gateway), *host_ips),
    )
    channels.start()
    stack.push_async_callback(channels.stop)
    return Engine(
        plan=plan,
        store=store,
        images=images,
        network=network,
        proxy=proxy,
        runtime=runtime,
        kubelet=kubelet,
        account_key=account_key,
        channels=channels,
        usage=UsageObserver(runtime, clock),
    )


def _lives_anything(runtime: OciRuntimeService) -> bool:
    """Whether a pod has its sandbox, or a container runs."""
    return any(sandbox.state is SandboxState.READY for sandbox in runtime.list_pod_sandboxes()) or any(
        container.state is ContainerState.RUNNING for container in runtime.list_containers()
    )


async def remove_network(settings: DaemonSettings, plan: NetworkPlan) -> None:
    """The bridge and all that belongs to it, whoever has made it.  Only while no pod lives."""
    await BridgeNetwork(_network_settings(settings, plan)).teardown()


async def start_dns(engine: Engine, stack: AsyncExitStack, udp: socket.socket, tcp: socket.socket) -> None:
    """The name server of pods, on sockets at the gateway."""
    plan = engine.plan
    server = DnsServer(
        engine.store,
        DnsSettings(
            cluster_ip=plan.service_cidr[DNS_HOST],
            networks=(plan.pod_cidr, plan.service_cidr),
            read_upstreams=lambda: read_resolv_conf(Path("/etc/resolv.conf")).servers,
        ),
    )
    await server.start(udp, tcp)
    stack.push_async_callback(server.stop)


async def start_controllers(
    engine: Engine,
    settings: DaemonSettings,
    clock: Clock,
    stack: AsyncExitStack,
    *,
    ca_pem: str,
    api_port: int,
    dns_port: int,
) -> None:
    """The control loops; they need to know where API and name server listen."""
    store = engine.store
    resources = tuple(kind.resource_key for kind in STORED_KINDS)
    namespaced = tuple(kind.resource_key for kind in STORED_KINDS if kind.namespaced)
    services, gateway = engine.plan.service_cidr, str(engine.plan.gateway)
    api = build_api_service(cluster_ip=str(services[API_HOST]), address=gateway, port=api_port)
    dns = build_dns_service(cluster_ip=str(services[DNS_HOST]), address=gateway, port=dns_port)

    def resolve(api_version: str, kind: str) -> tuple[str, bool] | None:
        group, _, version = api_version.rpartition("/")
        found = kind_by_gvk(group, version, kind)
        return (found.stored_resource, found.namespaced) if found else None

    for controller in (
        NamespaceController(store, clock, namespaced),
        AccessController(store, clock),
        PriorityClassController(store, clock),
        ServiceAccountController(store, clock, ca_pem),
        BuiltinServiceController(store, clock, api, dns),
        PersistentVolumeController(
            store,
            clock,
            _recorder(store, clock, settings, "persistentvolume-controller"),
            LocalVolumes(settings.data_dir / "volumes"),
            settings.node_name,
        ),
        Scheduler(store, clock, settings.node_name, _recorder(store, clock, settings, "default-scheduler")),
        TaintEvictionController(
            store, clock, settings.node_name, _recorder(store, clock, settings, "taint-eviction-controller")
        ),
        OrphanedPodController(store, clock),
        EndpointSliceController(store, clock),
        GarbageCollector(store, clock, resources, resolve),
    ):
        await controller.start()
        stack.push_async_callback(controller.stop)


def _recorder(store: Store, clock: Clock, settings: DaemonSettings, component: str) -> EventRecorder:
    return EventRecorder(store, clock, component, settings.node_name)


def _network_settings(settings: DaemonSettings, plan: NetworkPlan) -> NetworkSettings:
    return NetworkSettings(
        instance=settings.instance,
        bridge=plan.bridge,
        pod_cidr=plan.pod_cidr,
        service_cidr=plan.service_cidr,
        table=f"{plan.table}_pods",
        data_dir=settings.data_dir / "addresses",
        shared_dir=settings.run_root / "_network",
    )


def _proxy_settings(plan: NetworkPlan) -> ProxySettings:
    return ProxySettings(
        table=f"{plan.table}_services",
        link_prefix=build_link_prefix(plan.bridge),
        gateway=plan.gateway,
        service_cidr=plan.service_cidr,
    )


def _program(name: str, *more_places: str) -> Path | None:
    found = shutil.which(name) or next((place for place in more_places if Path(place).exists()), None)
    return Path(found) if found else None


def _runtime_settings(settings: DaemonSettings) -> RuntimeSettings:
    return RuntimeSettings(
        instance=settings.instance,
        data_dir=settings.data_dir / "runtime",
        run_dir=settings.run_dir / "runtime",
        cgroup_parent=cgroup_parent(settings),
        pod_directories=(settings.data_dir, settings.run_dir),
        crun_path=_program("crun"),
        runc_path=_program("runc"),
        conmon_path=_program("conmon", "/usr/libexec/podman/conmon") or Path("/usr/bin/conmon"),
        handlers=settings.runtime_handlers,
        catatonit_path=_program("catatonit", "/usr/libexec/podman/catatonit"),
        apparmor_parser_path=_program("apparmor_parser", "/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"),
    )


def _volume_settings(settings: DaemonSettings, host_namespace: Path) -> VolumeSettings:
    return VolumeSettings(
        host_namespace=host_namespace,
        pods_dir=settings.data_dir / "pods",
        cpu_millis=(os.cpu_count() or 1) * 1000,
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )


def _kubelet_settings(settings: DaemonSettings, plan: NetworkPlan, host_ips: tuple[str, ...]) -> KubeletSettings:
    return KubeletSettings(
        node_name=settings.node_name,
        log_dir=settings.data_dir / "logs",
        state_dir=settings.data_dir / "kubelet",
        host_ips=host_ips,
        cluster_dns=(str(plan.service_cidr[DNS_HOST]),),
        boot_id=boot_id(),
        os_image=read_os_name(),
        machine_id=read_machine_id(),
        system_uuid=read_system_uuid(),
        instance=settings.instance,
        housekeeping_interval_s=settings.housekeeping_interval_s,
        time_scale=settings.time_scale,
        container_backoff=BackoffSettings().scaled(settings.time_scale),
        image_backoff=BackoffSettings().scaled(settings.time_scale),
        eviction_thresholds=settings.eviction_thresholds,
        eviction_max_pod_grace_s=settings.eviction_max_pod_grace_s,
        eviction_transition_s=settings.eviction_transition_s,
        images_dir=settings.images_dir,
        image_gc_high_percent=settings.image_gc_high_percent,
        image_gc_low_percent=settings.image_gc_low_percent,
        log_max_size_bytes=settings.container_log_max_bytes,
        log_max_files=settings.container_log_max_files,
        static_pod_dir=settings.static_pod_dir or settings.data_dir / "manifests",
        pod_max_pids=settings.pod_max_pids,
        allowed_unsafe_sysctls=settings.allowed_unsafe_sysctls,
        runtime_handlers=tuple(sorted(_runtime_settings(settings).all_handlers())),
    )


def cgroup_parent(settings: DaemonSettings) -> str:
    """Below it are the cgroups of all pods and monitors of the instance."""
    return f"/podhost/{settings.instance}"


def remove_cgroups(settings: DaemonSettings) -> None:
    """The instance's cgroups, once empty; and the common parent with the last instance.  Blocking."""
    cgroup.remove(cgroup_parent(settings))
    layout = cgroup.detect()
    for directory in layout.directories("/podhost"):
        try:
            directory.rmdir()
        except OSError:
            # Absent, or another instance is below it.
            continue

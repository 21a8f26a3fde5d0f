"""The pod network: a routed link for each pod, and one bridge without ports that holds the gateway's address.

A pod has a /32 address and a route to the gateway only; its link's other end is an interface of its own on the
host, with a /32 route back.  So every packet of a pod passes the host's IP layer, and with it the service rules.
Links are not ports of the bridge on purpose: with ``bridge-nf-call-iptables=1`` (docker and Kubernetes set it)
the kernel answers a translated address by bridging the packet to its port directly, past isolation and routing.

An attachment passes these states; after a crash :meth:`BridgeNetwork.recover` works from the record::

    absent ──reserve──> recorded ──link──> linked ──host ports──> attached
       ^                                                             │ detach: host ports, name off the books
       └──────── erased <──── link deleted <──────── released <──────┘

Deleting a link takes the kernel some 20 ms of waiting, so released links are deleted behind the caller's back,
all that are due at once; their addresses are free only after that.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal

from podhost.aiokit import failpoint
from podhost.aiokit.shared_read import SharedRead
from podhost.aiokit.tasks import Tasks
from podhost.cri.ids import SandboxId
from podhost.cri.network import PodNetworkStatus
from podhost.cri.runtime import PortMapping
from podhost.errors import ConflictError, InvalidError, PodhostError
from podhost.linux import fs, listeners, netlink, nft
from podhost.linux.namespaces import run_in_namespace
from podhost.linux.netlink import NetlinkError, RouteSocket
from podhost.network import firewalls, other_instances, rules
from podhost.network.addresses import Attachment, AttachmentRecords, find_clash_within
from podhost.network.bridge_link import build_mac, ensure_bridge
from podhost.network.forwarding import enable_forwarding, release_forwarding
from podhost.network.settings import NetworkSettings, build_link_prefix

_log = logging.getLogger(__name__)

_LINK_GROUP = 0x706F6468
_DEFAULT = IPv4Network("0.0.0.0/0")

_RECORDED = failpoint.register("network.attach.01-recorded")
_LINKED = failpoint.register("network.attach.02-linked")
_PUBLISHED = failpoint.register("network.attach.03-published")
_WITHDRAWN = failpoint.register("network.detach.01-withdrawn")
_UNLINKED = failpoint.register("network.detach.02-unlinked")


class BridgeNetwork:
    """:class:`podhost.cri.network.PodNetwork` of one instance."""

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        describe: Callable[[SandboxId], str] = lambda sandbox_id: f"pod sandbox {sandbox_id}",
    ) -> None:
        """``describe`` names a sandbox in messages, such as ``pod default/web``."""
        self._settings = settings
        self._describe = describe
        self._records = AttachmentRecords(settings.data_dir, settings.pod_cidr)
        self._links = firewalls.PodLinks(build_link_prefix(settings.bridge), settings.pod_cidr)
        self._tasks = Tasks()
        # Pods that start together ask twice each, and every look at the kernel's tables is a process.
        self._list_published = SharedRead(
            self._tasks, lambda: other_instances.list_published(settings.table), name="list published host ports"
        )
        self._released: list[Attachment] = []
        self._reaping: asyncio.Task[None] | None = None
        self._mtu = 1500

    async def attach(
        self, sandbox_id: SandboxId, netns: Path, port_mappings: tuple[PortMapping, ...] = ()
    ) -> PodNetworkStatus:
        attachment = self._records.find(sandbox_id)
        if attachment is not None:
            return self._status(attachment)
        for port in port_mappings:
            _check_host_address(port)
        if twice := find_clash_within(port_mappings):
            raise ConflictError(f"cannot publish host port {twice.host_port}/{twice.protocol}: it is asked for twice")
        attachment = self._records.reserve(sandbox_id, netns, port_mappings, self._describe)
        try:
            await self._check_unpublished(port_mappings)
            await _run_to_its_end(functools.partial(self._connect, attachment))
            if port_mappings:
                await nft.apply(rules.compile_attachment(self._settings.table, attachment))
                # Two instances that publish it at the same moment both see it here, and both give way.
                await self._check_unpublished(port_mappings)
            failpoint.hit(_PUBLISHED)
        except BaseException:
            await asyncio.shield(self._tasks.spawn(self.detach(sandbox_id), name=f"detach {sandbox_id}"))
            raise
        return self._status(attachment)

    async def detach(self, sandbox_id: SandboxId) -> None:
        attachment = self._records.forget_ports(sandbox_id)
        if attachment is None:
            return
        try:
            if attachment.host_ports:
                await nft.apply(rules.compile_detachment(self._settings.table, attachment))
            failpoint.hit(_WITHDRAWN)
        finally:
            self._released.append(attachment)
            if self._reaping is None or self._reaping.done():
                self._reaping = self._tasks.spawn(self._reap(), name="delete pod links")

    async def recover(self, live: set[SandboxId]) -> None:
        await self.wait_detached()
        await asyncio.to_thread(self._recover_links, live)
        await nft.apply(rules.compile_table(self._settings, self._records.all()))
        await self.ensure_neighbours()

    async def ensure_neighbours(self) -> None:
        """Make exceptions in other firewalls (docker, ufw, firewalld) where they are missing; idempotent."""
        for warning in await firewalls.ensure_exceptions(self._links):
            _log.warning("%s", warning)

    async def wait_detached(self) -> None:
        """Wait until the links of all detached sandboxes are gone."""
        while self._reaping is not None and not self._reaping.done():
            await asyncio.wait([self._reaping])

    async def close(self) -> None:
        """End background work.  Pods keep their network."""
        await self.wait_detached()
        await self._tasks.cancel_all()

    async def teardown(self) -> None:
        """Remove the whole network: links, bridge with its routes, rules, records, exceptions, forwarding.

        Links go also when rules cannot be removed.
        """
        await self.close()
        try:
            await nft.delete_table(self._settings.table)
            await firewalls.remove_exceptions(self._links)
        finally:
            await asyncio.to_thread(self._remove_links, await self._do_others_forward())

    async def _check_unpublished(self, ports: tuple[PortMapping, ...]) -> None:
        if not ports:
            return
        if clash := other_instances.find_clash(ports, await self._list_published()):
            raise ConflictError(clash)

    async def _do_others_forward(self) -> bool:
        """Whether another instance needs the machine to forward packets; so it is when nobody knows."""
        own = f"podhost_{self._settings.instance}"
        try:
            tables = await nft.list_tables()
        except (PodhostError, OSError):
            return True
        return any(table.startswith("podhost_") and not table.startswith(own) for table in tables)

    def _status(self, attachment: Attachment) -> PodNetworkStatus:
        return PodNetworkStatus(ips=(str(attachment.address),), gateway=str(self._settings.gateway))

    # What follows runs in worker threads.

    def _connect(self, attachment: Attachment) -> None:
        for port in attachment.host_ports:
            _check_unused(port)
        self._records.save(attachment)
        failpoint.hit(_RECORDED)
        name = build_link_name(self._settings, attachment.address)
        netns_fd = os.open(attachment.netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with RouteSocket() as host:
                self._create_link(host, name, attachment.address, netns_fd)
                index = netlink.link_index(name)
                host.request(
                    [
                        netlink.build_neighbour(index, attachment.address, build_mac(attachment.address)),
                        netlink.build_route(
                            IPv4Network((attachment.address, 32)), index, source=self._settings.gateway
                        ),
                    ]
                )
        finally:
            os.close(netns_fd)
        configure = functools.partial(_configure_inside, attachment.address, self._settings.gateway)
        run_in_namespace(attachment.netns, "net", configure)
        failpoint.hit(_LINKED)

    def _create_link(self, host: RouteSocket, name: str, address: IPv4Address, netns_fd: int) -> None:
        veth = netlink.build_veth(
            name,
            mac=build_mac(self._settings.gateway),
            peer="eth0",
            peer_mac=build_mac(address),
            peer_netns_fd=netns_fd,
            mtu=self._mtu,
        )
        messages = [veth, netlink.build_quiet(name), netlink.build_routed_loopback(name), netlink.build_up(name)]
        try:
            host.request(messages)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            # A leftover of a crash has the name.
            host.request([netlink.build_delete_link(name)])
            host.request(messages)

    def _recover_links(self, live: set[SandboxId]) -> None:
        settings = self._settings
        enable_forwarding(settings.shared_dir, settings.bridge)
        self._ensure_bridge()
        self._records.load()
        for attachment in self._records.all():
            if attachment.sandbox_id not in live:
                self._records.forget_ports(attachment.sandbox_id)
                self._records.free(attachment)
                self._records.erase(attachment)
        ports = self._observe_pod_links()
        kept = {build_link_name(settings, attachment.address): attachment for attachment in self._records.all()}
        _delete_links(sorted(ports - kept.keys()))
        for name, attachment in kept.items():
            if name in ports:
                continue
            try:
                self._connect(attachment)
            except OSError as error:
                # One broken pod never stops the start; its own sync will find the network missing.
                _log.warning("cannot link sandbox %s again: %s", attachment.sandbox_id, error)

    def _ensure_bridge(self) -> None:
        settings = self._settings
        self._mtu = settings.mtu or _observe_mtu()
        ensure_bridge(settings.bridge, settings.pod_cidr, settings.service_cidr, self._mtu)

    def _observe_pod_links(self) -> set[str]:
        links = netlink.observe_links().values()
        return {link.name for link in links if link.name.startswith(self._links.prefix) and link.kind == "veth"}

    def _remove_links(self, others_forward: bool) -> None:
        _delete_links([*self._observe_pod_links(), self._settings.bridge])
        release_forwarding(self._settings.shared_dir, self._settings.bridge, needed_elsewhere=others_forward)
        fs.remove_tree(self._settings.data_dir)

    async def _reap(self) -> None:
        while self._released:
            batch, self._released = self._released, []
            try:
                await asyncio.to_thread(self._delete_released, batch)
            except OSError as error:
                _log.warning("cannot delete links of pods that have gone, the next removal will retry: %s", error)
                self._released += batch
                return
            for attachment in batch:
                self._records.free(attachment)

    def _delete_released(self, batch: list[Attachment]) -> None:
        _delete_links([build_link_name(self._settings, attachment.address) for attachment in batch])
        failpoint.hit(_UNLINKED)
        for attachment in batch:
            self._records.erase(attachment)


def build_link_name(settings: NetworkSettings, address: IPv4Address) -> str:
    """Host end of a pod's link: ``ph0-5`` is pod address number 5.  At most 15 characters."""
    return f"{build_link_prefix(settings.bridge)}{int(address) - int(settings.pod_cidr.network_address):x}"


async def _run_to_its_end(work: Callable[[], None]) -> None:
    """Run ``work`` in a thread; a cancelled caller waits until it has ended too.

    A thread cannot be cancelled: undoing what it does while it still does it would leave a part behind.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled() and (error := running.exception()):
            _log.debug("cancelled attach failed: %s", error)
        raise


def _check_host_address(port: PortMapping) -> None:
    try:
        IPv4Address(port.host_ip or "0.0.0.0")
    except ValueError as error:
        raise InvalidError(
            f"cannot publish host port {port.host_port}/{port.protocol} on {port.host_ip!r}: not an IPv4 address"
        ) from error


def _check_unused(port: PortMapping) -> None:
    protocol: Literal["TCP", "UDP"]
    if port.protocol == "TCP":
        protocol = "TCP"
    elif port.protocol == "UDP":
        protocol = "UDP"
    else:
        return
    if not listeners.is_port_free(protocol, port.host_ip, port.host_port):
        owner = listeners.find_port_owner(protocol, port.host_port) or "a process on this host"
        raise ConflictError(f"cannot publish host port {port.host_port}/{protocol}: {owner} listens on it")


def _configure_inside(address: IPv4Address, gateway: IPv4Address) -> None:
    index = netlink.link_index("eth0")
    with RouteSocket() as pod:
        pod.request(
            [
                netlink.build_up("lo"),
                netlink.build_quiet("eth0"),
                netlink.build_up("eth0"),
                netlink.build_address(index, address, 32),
                netlink.build_neighbour(index, gateway, build_mac(gateway)),
                netlink.build_route(IPv4Network((gateway, 32)), index),
                netlink.build_route(_DEFAULT, index, gateway=gateway),
            ]
        )


def _delete_links(names: list[str]) -> None:
    with RouteSocket() as route:
        if len(names) == 1:
            route.request([netlink.build_delete_link(names[0])])
        elif names:
            route.request([netlink.build_group(name, _LINK_GROUP) for name in names])
            route.request([netlink.build_delete_group(_LINK_GROUP)])


def _observe_mtu() -> int:
    """MTU of the link with the default route: larger packets of pods would only be fragmented or lost."""
    with RouteSocket() as route:
        out = {entry.out_index for entry in route.routes() if entry.destination == _DEFAULT}
        return min((link.mtu for link in route.links() if link.index in out and link.mtu), default=1500)

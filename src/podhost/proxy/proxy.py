"""Keeps the kernel's rules in step with Services and EndpointSlices.

Level-triggered: an event only marks its service as dirty.  All that is dirty when a pass begins is compiled and
carried out as one nftables transaction; what arrives meanwhile waits for the next pass.  After a failure the
next pass, after a back-off, replaces the whole table, whatever state it is in.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from podhost.aiokit import failpoint
from podhost.aiokit.backoff import Backoff
from podhost.aiokit.tasks import Tasks
from podhost.errors import PodhostError
from podhost.linux import conntrack, listeners, nft
from podhost.proxy import rules
from podhost.proxy.rules import Ruleset
from podhost.proxy.services import Endpoint, ServicePort, compute_service_ports, service_of_slice
from podhost.proxy.settings import ProxySettings
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

_log = logging.getLogger(__name__)

SERVICES = "services"
ENDPOINT_SLICES = "endpointslices.discovery.k8s.io"
_APPLY = failpoint.register("proxy.apply")

ServiceKey = tuple[str, str]


class Proxy:
    """The service rules of one instance."""

    def __init__(
        self,
        store: Store,
        settings: ProxySettings,
        recorder: EventRecorder | None = None,
        *,
        apply: Callable[[str], Awaitable[None]] = nft.apply,
        is_port_free: Callable[[str, int], bool] | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._recorder = recorder
        self._apply = apply
        self._is_port_free = is_port_free or _is_port_free
        self._tasks = Tasks()
        self._backoff: Backoff[str] = Backoff(0.1, 30.0, reset_after_s=float("inf"))
        self._slices: dict[ServiceKey, dict[str, dict[str, Any]]] = {}
        self._applied: dict[ServiceKey, tuple[tuple[ServicePort, ...], Ruleset]] = {}
        self._hairpins: Counter[tuple[str, str]] = Counter()
        self._dirty: set[ServiceKey] = set()
        self._whole = True
        self._running: asyncio.Task[None] | None = None
        self._undo: list[Callable[[], None]] = []
        self._warned: set[tuple[str, str]] = set()

    async def start(self) -> None:
        """Replace whatever table there is by one for the present state, then follow the store.

        Raises:
            CommandError: nft refused it.
        """
        self._undo = [
            self._store.subscribe(SERVICES, self._on_service),
            self._store.subscribe(ENDPOINT_SLICES, self._on_slice),
        ]
        self._mark_all()
        await self._sync_once()

    async def sync(self) -> None:
        """Wait until the kernel has all that the store held at the call."""
        self._schedule()
        while (running := self._running) is not None and not running.done():
            await asyncio.wait([running])

    async def stop(self) -> None:
        """Follow the store no longer; the rules stay, and with them the services."""
        for undo in self._undo:
            undo()
        self._undo = []
        await self._tasks.cancel_all()

    async def teardown(self) -> None:
        """Stop, and remove all rules."""
        await self.stop()
        await nft.delete_table(self._settings.table)

    def _on_service(self, event: WatchEvent) -> None:
        self._mark(_key(event.object))

    def _on_slice(self, event: WatchEvent) -> None:
        name = event.object["metadata"]["name"]
        if event.previous is not None and (owner := service_of_slice(event.previous)):
            self._slices.get(owner, {}).pop(name, None)
            self._mark(owner)
        if event.type != "DELETED" and (owner := service_of_slice(event.object)):
            self._slices.setdefault(owner, {})[name] = event.object
            self._mark(owner)

    def _mark(self, key: ServiceKey) -> None:
        self._dirty.add(key)
        self._schedule()

    def _mark_all(self) -> None:
        self._whole = True
        self._slices = {}
        for endpoint_slice in self._store.list(ENDPOINT_SLICES)[0]:
            if owner := service_of_slice(endpoint_slice):
                self._slices.setdefault(owner, {})[endpoint_slice["metadata"]["name"]] = endpoint_slice
        self._dirty = {_key(service) for service in self._store.list(SERVICES)[0]}

    def _schedule(self) -> None:
        # The task starts after the callbacks of this loop turn: one pass for all of a turn's writes.
        if (self._dirty or self._whole) and (self._running is None or self._running.done()):
            self._running = self._tasks.spawn(self._run_passes(), name="proxy sync")

    async def _run_passes(self) -> None:
        while self._dirty or self._whole:
            try:
                await self._sync_once()
                self._backoff.reset("apply")
            except (PodhostError, OSError) as error:
                _log.error("cannot bring the service rules up to date: %s", error)
                self._mark_all()
                await asyncio.sleep(self._backoff.next("apply", asyncio.get_running_loop().time()))

    async def _sync_once(self) -> None:
        dirty, self._dirty = self._dirty, set()
        whole, self._whole = self._whole, False
        if whole:
            self._applied, self._hairpins = {}, Counter()
        compiled = {key: self._compile(key) for key in dirty}
        old, new = self._merge(compiled)
        script = rules.render_table(self._settings, new) if whole else rules.render_change(self._settings, old, new)
        before = {key: self._applied[key][0] for key in compiled if key in self._applied}
        try:
            failpoint.hit(_APPLY)
            if script:
                await self._apply(script)
        except BaseException:
            self._whole = True
            raise
        self._keep(compiled)
        await self._after_apply(before, {key: ports for key, (ports, _) in compiled.items()})

    def _compile(self, key: ServiceKey) -> tuple[tuple[ServicePort, ...], Ruleset]:
        service = self._store.find(ObjectKey(SERVICES, *key))
        if service is None or service["metadata"].get("deletionTimestamp"):
            return (), Ruleset()
        self._warn_external_ips(service)
        try:
            ports = tuple(compute_service_ports(service, self._slices.get(key, {}).values()))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # One broken object never takes the other services down.
            _log.error("cannot understand service %s/%s, it is left out: %r", *key, error)
            return (), Ruleset()
        return ports, rules.compile_service(ports)

    def _merge(self, compiled: dict[ServiceKey, tuple[tuple[ServicePort, ...], Ruleset]]) -> tuple[Ruleset, Ruleset]:
        """What the dirty services have in the kernel, and what they shall have.

        A pod can be an endpoint of several services, so its hairpin element goes with the last of them only.
        """
        old, new = Ruleset(), Ruleset()
        for key, (_, ruleset) in compiled.items():
            if key in self._applied:
                old.add(self._applied[key][1])
            new.add(ruleset)
        replaced = [self._applied[key][1] for key in compiled if key in self._applied]
        mine = Counter(element for ruleset in replaced for element in _hairpins(ruleset))
        for element in mine:
            if self._hairpins[element] > mine[element]:
                new.elements[element] = ""
        return old, new

    def _keep(self, compiled: dict[ServiceKey, tuple[tuple[ServicePort, ...], Ruleset]]) -> None:
        for key, (ports, ruleset) in compiled.items():
            if key in self._applied:
                self._hairpins.subtract(_hairpins(self._applied.pop(key)[1]))
            if ports:
                self._applied[key] = (ports, ruleset)
                self._hairpins.update(_hairpins(ruleset))

    async def _after_apply(
        self, before: dict[ServiceKey, tuple[ServicePort, ...]], after: dict[ServiceKey, tuple[ServicePort, ...]]
    ) -> None:
        removed = {
            endpoint
            for key, ports in before.items()
            for endpoint in _udp_endpoints(ports) - _udp_endpoints(after.get(key, ()))
        }
        for endpoint in sorted(removed):
            # The kernel would go on sending a client's datagrams to a pod that is no longer there.
            await conntrack.delete_udp_flows(endpoint.address, endpoint.port)
        known = {(port.protocol, port.node_port) for ports in before.values() for port in ports}
        for key, ports in after.items():
            for port in ports:
                if port.node_port and (port.protocol, port.node_port) not in known:
                    await self._warn_port_in_use(key, port)

    async def _warn_port_in_use(self, key: ServiceKey, port: ServicePort) -> None:
        if self._recorder is None or await asyncio.to_thread(self._is_port_free, port.protocol, port.node_port):
            return
        find = functools.partial(listeners.find_port_owner, "UDP" if port.protocol == "udp" else "TCP")
        owner = await asyncio.to_thread(find, port.node_port) or "a process on this host"
        service = self._store.find(ObjectKey(SERVICES, *key))
        if service is not None:
            message = (
                f"node port {port.node_port}/{port.protocol.upper()} is also listened on by {owner},"
                " which cannot be reached while this service has the port"
            )
            self._recorder.event(service, "Warning", "NodePortInUse", message)

    def _warn_external_ips(self, service: dict[str, Any]) -> None:
        addresses = (service.get("spec") or {}).get("externalIPs")
        mark = (service["metadata"].get("uid", ""), "externalIPs")
        if addresses and self._recorder is not None and mark not in self._warned:
            self._warned.add(mark)
            message = f"spec.externalIPs is not honoured: {', '.join(addresses)}"
            self._recorder.event(service, "Warning", "ExternalIPsIgnored", message)


def _key(obj: dict[str, Any]) -> ServiceKey:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _hairpins(ruleset: Ruleset) -> list[tuple[str, str]]:
    return [element for element in ruleset.elements if element[0] == "hairpin"]


def _udp_endpoints(ports: Iterable[ServicePort]) -> set[Endpoint]:
    return {endpoint for port in ports if port.protocol == "udp" for endpoint in port.endpoints}


def _is_port_free(protocol: str, port: int) -> bool:
    if protocol not in ("tcp", "udp"):
        return True
    return listeners.is_port_free("UDP" if protocol == "udp" else "TCP", "", port)

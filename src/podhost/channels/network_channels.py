"""Listeners and connections from the sockets of a pod.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from podhost.channels.attribution import AddressBook, Attribution
from podhost.channels.graph import Channel, End, Listener
from podhost.linux.sock_diag import InetSocket, UnixSocket

Document = Mapping[str, Any]
_ANY = ("0.0.0.0", "::")
_CONNECTED = frozenset({"ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT"})


def build_listeners(who: Attribution, pod: Document, services: Iterable[Document]) -> tuple[Listener, ...]:
    """Who waits on which protocol, address and port; a port shared by workers is one."""
    declared = declared_ports(pod)
    reached = service_targets(pod, services)
    found: dict[tuple[object, ...], Listener] = {}
    for sock in who.snapshot.inet:
        if not is_listening(sock):
            continue
        holders = who.holders(sock.inode)
        pid = holders[0] if holders else 0
        container = who.container_of(pid) if pid else ""
        names = declared.get((sock.protocol, sock.local_port), {})
        listener = Listener(
            protocol=sock.protocol,
            address="*" if sock.local_address in _ANY else sock.local_address,
            port=sock.local_port,
            container=container,
            pid=pid,
            process=who.snapshot.processes[pid][1].name if pid else "",
            port_name=names.get(container, ""),
            declared=container in names,
            services=reached.get((sock.protocol, sock.local_port), ()),
        )
        found.setdefault((listener.protocol, listener.address, listener.port, container), listener)
    return tuple(sorted(found.values(), key=lambda one: (one.protocol, one.port, one.address, one.container)))


def is_listening(sock: InetSocket) -> bool:
    if sock.protocol == "tcp":
        return sock.state == "LISTEN"
    return sock.state == "CLOSE" and sock.local_port > 0 and sock.remote_port == 0


def declared_ports(pod: Document) -> dict[tuple[str, int], dict[str, str]]:
    """(protocol, port) → container → name of its port."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    for container in running_containers(pod):
        for port in container.get("ports") or ():
            protocol = str(port.get("protocol") or "TCP").lower()
            by_container = found.setdefault((protocol, int(port["containerPort"])), {})
            by_container[container["name"]] = str(port.get("name") or "")
    return found


def running_containers(pod: Document) -> list[Document]:
    """Containers that run beside each other: all but the init containers that end."""
    spec = pod.get("spec") or {}
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return [*sidecars, *(spec.get("containers") or ()), *(spec.get("ephemeralContainers") or ())]


def service_targets(pod: Document, services: Iterable[Document]) -> dict[tuple[str, int], tuple[str, ...]]:
    """(protocol, port of the pod) → Services that lead to it."""
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    for service in services:
        spec, meta = service.get("spec") or {}, service["metadata"]
        selector = spec.get("selector") or {}
        if not selector or meta.get("namespace") != metadata.get("namespace"):
            continue
        if any(labels.get(key) != value for key, value in selector.items()):
            continue
        for port in spec.get("ports") or ():
            number = resolve_target(pod, port)
            if number:
                key = (str(port.get("protocol") or "TCP").lower(), number)
                name = f"{meta.get('namespace', '')}/{meta['name']}"
                found[key] = tuple(dict.fromkeys((*found.get(key, ()), name)))
    return found


def resolve_target(pod: Document, service_port: Document) -> int:
    """``targetPort`` as a number; 0 when no container has a port of that name."""
    target = service_port.get("targetPort") or service_port.get("port") or 0
    return resolve_port(pod, target)


def resolve_port(pod: Document, port: str | int, container: str = "") -> int:
    """A port given by number or by the name of a containerPort; 0 when there is none."""
    if isinstance(port, int):
        return port
    for each in running_containers(pod):
        if container and each["name"] != container:
            continue
        for declared in each.get("ports") or ():
            if declared.get("name") == port:
                return int(declared["containerPort"])
    return int(port) if str(port).isdigit() else 0


@dataclass(slots=True)
class _Flow:
    """Connections between the same two participants on the same port."""

    protocol: str
    port: int
    address: str
    client: str
    server: str
    """``c:NAME`` or ``p:PEER``."""
    count: int = 0
    client_pids: list[int] = field(default_factory=list)
    server_pids: list[int] = field(default_factory=list)


def build_connections(who: Attribution, book: AddressBook) -> tuple[Channel, ...]:
    """TCP and UDP connections, those of the same participants counted together.

    A connection that nobody has accepted yet belongs to the listener; one that its process has closed, and that the
    kernel still winds up, to nobody: it is left out.
    """
    listening = {(s.protocol, s.local_port): who.holders(s.inode) for s in who.snapshot.inet if is_listening(s)}
    sides: dict[_Ends, _Side] = {}
    for sock in who.snapshot.inet:
        if sock.state in _CONNECTED and sock.remote_port:
            accepting = listening.get((sock.protocol, sock.local_port))
            holders = who.holders(sock.inode) or accepting or ()
            if holders:
                container = who.container_of(holders[0])
                sides[_ends(sock)] = _Side(sock, container, holders[0], accepting is not None)
    flows: dict[tuple[object, ...], _Flow] = {}
    for (protocol, local, local_port, remote, remote_port), side in sides.items():
        other = sides.get((protocol, remote, remote_port, local, local_port))
        if other is None:
            if who.snapshot.target.netns is None or not _is_loopback(remote):
                _count(flows, side, None, "p:" + _name_peer(book, side))
        elif side.is_server < other.is_server or (side.is_server == other.is_server and not _later(side.sock)):
            _count(flows, side, other, "c:" + other.container)
    return tuple(
        _build_flow(who, flow) for flow in sorted(flows.values(), key=lambda f: (f.protocol, f.port, f.client))
    )


_Ends = tuple[str, str, int, str, int]


@dataclass(frozen=True, slots=True)
class _Side:
    """A connected socket with its holder."""

    sock: InetSocket
    container: str
    pid: int
    is_server: bool


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _name_peer(book: AddressBook, side: _Side) -> str:
    address = side.sock.remote_address
    if _is_loopback(address):
        return "this host"
    return book.name(address, 0 if side.is_server else side.sock.remote_port)


def _later(sock: InetSocket) -> bool:
    """Of two sockets none of which listens, one stands for both."""
    return (sock.local_address, sock.local_port) > (sock.remote_address, sock.remote_port)


def _ends(sock: InetSocket) -> _Ends:
    return sock.protocol, sock.local_address, sock.local_port, sock.remote_address, sock.remote_port


def _count(flows: dict[tuple[object, ...], _Flow], side: _Side, other: _Side | None, there: str) -> None:
    sock, here = side.sock, "c:" + side.container
    port = sock.local_port if side.is_server else sock.remote_port
    address = sock.local_address if side.is_server else sock.remote_address
    client, server = (there, here) if side.is_server else (here, there)
    key = (sock.protocol, client, server, port, address)
    flow = flows.get(key)
    if flow is None:
        flow = flows[key] = _Flow(sock.protocol, port, address, client, server)
    flow.count += 1
    _note(flow.server_pids if side.is_server else flow.client_pids, side.pid)
    if other is not None:
        _note(flow.server_pids, other.pid)


def _note(known: list[int], pid: int) -> None:
    # A look at the last few is enough: what thousands of connections share is found at once.
    if pid not in known[-8:]:
        known.append(pid)


def _build_flow(who: Attribution, flow: _Flow) -> Channel:
    host = f"[{flow.address}]" if ":" in flow.address else flow.address
    return Channel(
        id=f"{flow.protocol}:{flow.client[2:]}>{flow.server[2:]}:{host}:{flow.port}",
        kind="udp" if flow.protocol == "udp" else "tcp",
        name=f"{flow.protocol} {host}:{flow.port}",
        summary=f"{flow.count} connection{'s' if flow.count > 1 else ''}",
        facts={"connections": flow.count, "port": flow.port, "address": flow.address},
        ends=(
            _flow_end(who, flow.client, flow.client_pids, is_server=False),
            _flow_end(who, flow.server, flow.server_pids, is_server=True),
        ),
    )


def _flow_end(who: Attribution, side: str, pids: list[int], *, is_server: bool) -> End:
    return End(
        container=side[2:] if side.startswith("c:") else "",
        peer=side[2:] if side.startswith("p:") else ("" if side[2:] else "unknown"),
        role="server" if is_server else "client",
        processes=who.name_processes(pids),
    )


def build_unix_channels(who: Attribution) -> tuple[Channel, ...]:
    """Named unix sockets (a path or an abstract name) and who is connected to them."""
    by_inode = {sock.inode: sock for sock in who.snapshot.unix}
    servers: dict[tuple[str, str], list[UnixSocket]] = {}
    for sock in who.snapshot.unix:
        if sock.name and (sock.state == "LISTEN" or (sock.kind == "dgram" and not sock.peer_inode)):
            container = next(iter(who.socket_containers(sock.inode)), "")
            servers.setdefault((sock.name, container), []).append(sock)
    clients: dict[tuple[str, str], list[int]] = {}
    counts: dict[tuple[str, str], int] = {}
    for sock in who.snapshot.unix:
        accepted = by_inode.get(sock.peer_inode)
        if accepted is None or sock.name or not accepted.name:
            continue
        key = (accepted.name, next(iter(who.socket_containers(accepted.inode)), ""))
        key = key if key in servers else next((each for each in servers if each[0] == accepted.name), key)
        counts[key] = counts.get(key, 0) + 1
        clients.setdefault(key, []).extend(who.holders(sock.inode)[:1])
    return tuple(
        _build_unix(who, name, socks, clients.get((name, container), []), counts.get((name, container), 0))
        for (name, container), socks in sorted(servers.items())
        if container
    )


def _build_unix(who: Attribution, name: str, socks: list[UnixSocket], clients: list[int], count: int) -> Channel:
    holders = [pid for sock in socks for pid in who.holders(sock.inode)]
    server = who.end_of_pids(holders, "server")
    users = who.end_of_pids(clients, "client")
    connected = f"{count} connection{'s' if count > 1 else ''}" if count else "nobody is connected"
    return Channel(
        id=f"unix:{server[0].container if server else ''}:{name}",
        kind="unix",
        name=f"unix {name}",
        summary=f"{socks[0].kind}, {connected}",
        facts={"connections": count, "type": socks[0].kind, "abstract": int(name.startswith("@"))},
        ends=(*users, *server),
    )

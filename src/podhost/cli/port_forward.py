"""``podhost port-forward``: ports of this machine that lead into a pod."""

from __future__ import annotations

import argparse
import contextlib
import errno
import selectors
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podhost.cli.failure import HintedError
from podhost.cli.session import connect, namespace_of
from podhost.cli.terminal import say
from podhost.client import ApiClient, ApiStatusError, resource_path
from podhost.client.port_forward import PodConnection, PortForward
from podhost.errors import PodhostError

_CHUNK_BYTES = 1 << 16
_REASON_S = 1.0
_LINGER_ZERO = struct.pack("ii", 1, 0)
"""Closing then resets the connection."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "podhost port-forward [--address IP …] POD [LOCAL:]REMOTE …"
    parser.epilog = (
        "It goes on until Ctrl-C; a connection that fails harms no other.\n\n"
        "examples:\n"
        "  podhost port-forward web 8080:80         http://localhost:8080 is port 80 of the pod\n"
        "  podhost port-forward web 80 :5432        the same port here, and any free one\n"
        "  podhost port-forward web :http           a port by its name\n"
        "  podhost port-forward service/web 80      a pod of the service\n"
        "  podhost port-forward --address 0.0.0.0 web 80\n"
    )
    parser.add_argument("pod", metavar="POD|KIND/NAME", help="a pod, or service/NAME")
    parser.add_argument("ports", nargs="+", metavar="[LOCAL:]REMOTE", help="numbers; REMOTE may be a port's name")
    parser.add_argument(
        "--address", action="append", metavar="IP", help="listen there (default: 127.0.0.1 and ::1); may be repeated"
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """One port to forward, as asked for; ``remote`` may be a name."""

    local: int
    remote: str


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    namespace = namespace_of(args, client)
    wishes = [parse_wish(text) for text in args.ports]
    pod, ports = find_target(client, namespace, args.pod, wishes)
    forwarder = Forwarder(client, namespace, pod)
    forwarder.check()
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for wish, remote in zip(wishes, ports, strict=True):
            for listener in listen(args.address, wish.local):
                stack.enter_context(listener)
                selector.register(listener, selectors.EVENT_READ, remote)
                print(f"{_show_address(listener)} -> {pod}:{remote}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    forwarder.accept(key.fileobj, key.data)
    return 0


def parse_wish(text: str) -> Wish:
    """``8080:80``, ``80``, ``:80``, ``8080:http``.  Raises HintedError."""
    local, colon, remote = text.rpartition(":")
    if not colon:
        local = remote if remote.isdigit() else ""
    if not remote or not (local.isdigit() or not local) or int(local or 0) > 65535:
        raise HintedError(f"cannot understand the port '{text}'", "write LOCAL:REMOTE, REMOTE, or :REMOTE")
    if remote.isdigit() and not 0 < int(remote) < 65536:
        raise HintedError(f"cannot forward to port {remote}", "ports are between 1 and 65535")
    return Wish(int(local or 0), remote)


def find_target(client: ApiClient, namespace: str, name: str, wishes: Sequence[Wish]) -> tuple[str, list[int]]:
    """The pod, and its port for each wish.  Raises HintedError."""
    kind, _, rest = name.rpartition("/")
    if kind in ("service", "services", "svc"):
        service = _get(client, "services", namespace, rest)
        pod = _choose_pod(client, namespace, service)
        return pod["metadata"]["name"], [resolve_service_port(service, pod, wish.remote) for wish in wishes]
    if kind not in ("", "pod", "pods", "po"):
        raise HintedError(f"cannot forward to '{name}'", "give a pod, or service/NAME")
    pod = _get(client, "pods", namespace, rest)
    phase = (pod.get("status") or {}).get("phase")
    if phase != "Running":
        raise HintedError(f"cannot forward to the pod '{rest}': it is {phase}", f"see why: podhost describe {rest}")
    return rest, [resolve_pod_port(pod, wish.remote) for wish in wishes]


def resolve_pod_port(pod: Mapping[str, Any], wanted: str) -> int:
    """A container port by number or name.  Raises HintedError for a name that there is not."""
    if wanted.isdigit():
        return int(wanted)
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    for port in ports:
        if port.get("name") == wanted:
            return int(port["containerPort"])
    named = ", ".join(str(port["name"]) for port in ports if port.get("name"))
    pod_name = pod["metadata"]["name"]
    raise HintedError(
        f"cannot find the port '{wanted}' of the pod '{pod_name}'",
        f"its named ports: {named}" if named else "it has no named ports; give a number",
    )


def resolve_service_port(service: Mapping[str, Any], pod: Mapping[str, Any], wanted: str) -> int:
    """The pod's port behind a port of the service.  Raises HintedError."""
    ports = (service.get("spec") or {}).get("ports") or []
    for port in ports:
        if wanted in (str(port["port"]), port.get("name")):
            return resolve_pod_port(pod, str(port.get("targetPort") or port["port"]))
    have = ", ".join(str(port["port"]) for port in ports)
    raise HintedError(
        f"cannot find the port '{wanted}' of the service '{service['metadata']['name']}'", f"it has: {have}"
    )


def _choose_pod(client: ApiClient, namespace: str, service: Mapping[str, Any]) -> dict[str, Any]:
    """A pod behind a service, a ready one if there is one."""
    name = service["metadata"]["name"]
    selector = (service.get("spec") or {}).get("selector")
    if not selector:
        raise HintedError(f"cannot forward to the service '{name}': it selects no pods", "give a pod")
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = client.list(resource_path("v1", "pods", namespace=namespace), labelSelector=labels)["items"]
    running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
    if not running:
        raise HintedError(
            f"cannot forward to the service '{name}': none of its pods runs", f"see them: podhost ps -l {labels}"
        )
    return max(running, key=_is_ready)


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _get(client: ApiClient, plural: str, namespace: str, name: str) -> dict[str, Any]:
    try:
        return client.get(resource_path("v1", plural, namespace=namespace, name=name))
    except ApiStatusError as error:
        if error.code == 404:
            raise HintedError(
                f"cannot find the {plural.removesuffix('s')} '{name}' in the namespace '{namespace}'",
                "see what there is: podhost ps -A" if plural == "pods" else "see: kubectl get services -A",
            ) from error
        raise


def listen(addresses: Sequence[str] | None, port: int) -> list[socket.socket]:
    """Listeners on all addresses, with one port number.  Raises HintedError when one cannot be had."""
    listeners: list[socket.socket] = []
    for address in addresses or ("127.0.0.1", "::1"):
        try:
            listener = _listen(address, port)
        except OSError as error:
            if addresses is None and listeners:
                continue  # no IPv6 here, or somebody else has the port there
            for opened in listeners:
                opened.close()
            raise _explain_listen(error, address, port) from error
        listeners.append(listener)
        port = listener.getsockname()[1]
    return listeners


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=128)


def _explain_listen(error: OSError, address: str, port: int) -> HintedError:
    reason = (error.strerror or str(error)).lower()
    hints = {
        errno.EADDRINUSE: f"choose another: {port + 10000 if port < 55000 else 0}:REMOTE, or a free one: :REMOTE",
        errno.EACCES: "ports below 1024 need root; choose another: 8080:REMOTE",
    }
    hint = hints.get(error.errno or 0, "choose another with --address")
    return HintedError(f"cannot listen on {address} port {port}: {reason}", hint)


def _show_address(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Forwarder:
    """Connections into one pod over one request, which is made anew when it was lost."""

    def __init__(self, client: ApiClient, namespace: str, pod: str) -> None:
        self._client = client
        self._namespace = namespace
        self._pod = pod
        self._lock = threading.Lock()
        self._forward: PortForward | None = None

    def check(self) -> None:
        """Open the request now.  Raises HintedError."""
        try:
            self._open()
        except ApiStatusError as error:
            raise HintedError(f"cannot forward to the pod '{self._pod}': {error}") from error

    def accept(self, listener: socket.socket, port: int) -> None:
        """Serve the next local connection in threads of its own."""
        try:
            local, _ = listener.accept()
        except OSError:
            return  # it went away before
        threading.Thread(target=self._serve, args=(local, port), name=f"forward {port}", daemon=True).start()

    def _open(self) -> PortForward:
        with self._lock:
            if self._forward is None or self._forward.ended:
                self._forward = PortForward.open(self._client, self._namespace, self._pod)
            return self._forward

    def _serve(self, local: socket.socket, port: int) -> None:
        with local:
            try:
                connection = self._open().connect(port)
            except PodhostError as error:
                say(f"cannot connect to port {port}: {error}", mark="!", colour="red")
                return
            upward = threading.Thread(target=_copy_up, args=(local, connection), name=f"up {port}", daemon=True)
            upward.start()
            clean = _copy_down(connection, local)
            # A half-close: the client may go on sending.  The server tells when all is over, or what went wrong.
            problem = connection.wait_over()
            connection.close()
            if problem:
                say(f"connection to port {port} failed: {explain(problem, port)}", mark="!", colour="red")
            _close_local(local, clean=clean and not problem)
            upward.join()


def explain(problem: str, port: int) -> str:
    """A server's text, or what it means in most cases."""
    if "connection refused" in problem.lower():
        return f"nobody listens on port {port} of the pod's loopback"
    return problem


def _copy_up(local: socket.socket, connection: PodConnection) -> None:
    try:
        while data := local.recv(_CHUNK_BYTES):
            connection.write(data)
        connection.write_eof()
    except OSError:
        connection.write_eof()


def _copy_down(connection: PodConnection, local: socket.socket) -> bool:
    """Whether the pod's side came to its end."""
    received = False
    try:
        while data := connection.read():
            received = True
            local.sendall(data)
    except OSError:
        return False
    if not received and connection.wait_over(_REASON_S):
        return False  # it was never made; servers may say so a moment later
    with contextlib.suppress(OSError):
        local.shutdown(socket.SHUT_WR)
    return True


def _close_local(local: socket.socket, *, clean: bool) -> None:
    """Wakes whoever reads from it; a client must not take a break for a clean end."""
    with contextlib.suppress(OSError):
        if not clean:
            local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        local.shutdown(socket.SHUT_RD)

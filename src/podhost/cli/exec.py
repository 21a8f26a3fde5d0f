"""``podhost exec``: run a command in a container, on request with a real terminal."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator

from podhost.cli.failure import HintedError
from podhost.cli.session import connect, namespace_of
from podhost.client import ApiClient, ApiStatusError, resource_path
from podhost.client.exec_stream import ERROR, STDERR, STDIN, STDOUT, ExecStream, exec_target, exit_code_of
from podhost.errors import UnavailableError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "podhost exec [-i] [-t] [-c CONTAINER] POD -- COMMAND [ARG …]"
    parser.epilog = (
        "exit codes:\n"
        "  N    the command's own\n"
        "  1    it could not be run\n\n"
        "examples:\n"
        "  podhost exec web -- ls -l /etc           in the first container\n"
        "  podhost exec -it web -c app -- sh        a shell\n"
        "  podhost exec -i db -- psql < dump.sql    with stdin\n"
    )
    parser.add_argument("pod", metavar="POD")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="the command, after --")
    parser.add_argument("-c", "--container", metavar="NAME", default="", help="default: the first container")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass stdin on")
    parser.add_argument("-t", "--tty", action="store_true", help="a terminal")


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    use_tty = args.tty and sys.stdin.isatty()
    if args.tty and not use_tty:
        print("podhost: no terminal here, so -t is left out", file=sys.stderr)
    pod = args.pod.removeprefix("pod/")
    namespace = namespace_of(args, client)
    container = args.container or default_container(client, namespace, pod)
    target = exec_target(namespace, pod, container=container, command=args.command, tty=use_tty, stdin=args.stdin)
    try:
        stream = ExecStream.open(client, target)
    except ApiStatusError as error:
        raise explain(error, pod, namespace) from error
    with raw_terminal(use_tty), contextlib.closing(stream):
        if use_tty:
            follow_window_size(stream)
        if args.stdin:
            threading.Thread(target=pump_stdin, args=(stream,), name="stdin", daemon=True).start()
        try:
            return copy_output(stream)
        except ApiStatusError as error:
            raise explain(error, pod, namespace) from error


def default_container(client: ApiClient, namespace: str, pod: str) -> str:
    """The one that the pod's annotation names, else the first, as kubectl chooses it."""
    try:
        document = client.get(resource_path("v1", "pods", namespace=namespace, name=pod))
    except ApiStatusError as error:
        raise explain(error, pod, namespace) from error
    named = (document["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    names = [str(container["name"]) for container in document["spec"]["containers"]]
    return named if named in names else names[0]


def explain(error: ApiStatusError, pod: str, namespace: str) -> HintedError:
    hint = f"see what there is: podhost ps -n {namespace}"
    if error.code != 404:
        hint = f"see its state: podhost describe {pod} -n {namespace}"
    return HintedError(f"cannot run a command in the pod '{pod}': {error}", hint)


@contextlib.contextmanager
def raw_terminal(enabled: bool) -> Iterator[None]:
    """Keys go to the container as they are; the old settings come back whatever happens."""
    if not enabled:
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    # What was typed before is kept: the default would throw it away.
    tty.setraw(fd, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def follow_window_size(stream: ExecStream) -> None:
    """Send the size now, and at each SIGWINCH."""

    def send(*_: object) -> None:
        size = os.get_terminal_size(sys.stdin.fileno())
        stream.resize(size.columns, size.lines)

    send()
    signal.signal(signal.SIGWINCH, send)


def pump_stdin(stream: ExecStream) -> None:
    """Everything from stdin to the container, then its end."""
    fd = sys.stdin.fileno()
    while data := os.read(fd, 1 << 16):
        stream.send(STDIN, data)
    stream.close_stdin()


def copy_output(stream: ExecStream) -> int:
    """Write what comes until the command has ended; its exit code."""
    for channel, data in stream.messages():
        if channel == STDOUT:
            write_all(1, data)
        elif channel == STDERR:
            write_all(2, data)
        elif channel == ERROR:
            return exit_code_of(json.loads(data))
    raise UnavailableError("cannot tell how the command ended: the connection was closed before it did")


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]

"""``podhost stop``: end the daemon.  Pods that run must be removed first, or left on purpose."""

from __future__ import annotations

import argparse
import os
import select
import socket
import struct

from podhost.cli.daemon_start import is_running
from podhost.cli.down import delete_and_wait
from podhost.cli.failure import HintedError
from podhost.cli.kinds import Resource
from podhost.cli.session import OWN_API, InstancePaths, connect, instance_paths, require_local
from podhost.cli.terminal import StatusLine, say
from podhost.client import ApiClient, ApiStatusError, resource_path
from podhost.errors import UnavailableError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "exit codes:\n"
        "  0    it has ended, or did not run\n"
        "  1    pods run, or it did not end in time\n\n"
        "examples:\n"
        "  podhost stop                             refuses while pods run\n"
        "  podhost stop --force --now               with all pods, quickly\n"
        "  podhost stop --leave-pods                the next daemon adopts them\n"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--force", "--pods", "--all-pods", dest="force", action="store_true", help="delete all pods first"
    )
    group.add_argument("--leave-pods", action="store_true", help="containers go on; the next daemon adopts them")
    parser.add_argument(
        "--now", action="store_true", help="with --force: give pods one second instead of their grace period"
    )
    parser.add_argument("--timeout", type=float, default=180.0, metavar="SECONDS", help="how long to wait (180)")


def run(args: argparse.Namespace) -> int:
    require_local(args, "end the daemon")
    paths = instance_paths(args.instance)
    if not is_running(paths):
        say(f"no podhost daemon runs for the instance '{paths.name}'", mark="•", colour="grey")
        return 0
    client = connect(args)
    pidfd = open_daemon(paths)
    status = StatusLine()
    try:
        if args.force and args.now:
            kill_pods(client)
        status.show("… stopping the podhost daemon", plain="")
        mode = "remove" if args.force else "leave" if args.leave_pods else "refuse"
        try:
            client.request("POST", f"{OWN_API}/stop", body={"pods": mode}, timeout_s=args.timeout)
        except ApiStatusError as error:
            raise _explain(error) from error
        except UnavailableError:
            # It may end before its answer is out; whether it did is what the pidfd says.
            if pidfd is None:
                raise
        if pidfd is not None and not select.select([pidfd], [], [], args.timeout)[0]:
            raise HintedError(
                f"cannot see the daemon's end: it still runs after {args.timeout:.0f} s", f"its log: {paths.log_file}"
            )
    finally:
        status.clear()
        if pidfd is not None:
            os.close(pidfd)
    left = "; its containers go on" if args.leave_pods else ""
    say(f"podhost daemon stopped{left}", mark="✓", colour="green")
    return 0


def kill_pods(client: ApiClient) -> None:
    """Delete all pods with a grace of one second, the least that waits for the end of their containers."""
    pods = client.list(resource_path("v1", "pods"))["items"]
    resource = Resource(api_version="v1", plural="pods", namespaced=True)
    named = [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods]
    delete_and_wait(client, [(resource, namespace, name, f"pod/{name}") for namespace, name in named], grace_s=1)


def open_daemon(paths: InstancePaths) -> int | None:
    """A pidfd of the process behind the socket; ``None`` when it is in another pid namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(paths.socket))
        except OSError:
            # Missing rights or a daemon that has just gone: the request that follows says so in words.
            return None
        pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    try:
        return os.pidfd_open(pid) if pid else None
    except OSError:
        return None


def _explain(error: ApiStatusError) -> HintedError:
    if error.code != 409:
        return HintedError(f"cannot stop the daemon: {error}")
    cause = str(error).removeprefix("cannot stop: ")
    return HintedError(
        f"cannot stop the daemon: {cause}",
        "delete the pods first: podhost down FILE, or all at once: podhost stop --force",
        "or end only the daemon and let the containers go on: podhost stop --leave-pods",
    )

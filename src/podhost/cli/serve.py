"""``podhost serve``: become the daemon; flags that this command does not know are the daemon's."""

from __future__ import annotations

import argparse
import os
import sys

from podhost.cli.daemon_start import daemon_argv, is_running, require_root_for_daemon, start_daemon
from podhost.cli.failure import HintedError
from podhost.cli.session import instance_paths, require_local
from podhost.cli.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  sudo podhost serve                       in the foreground, as a service does\n"
        "  sudo podhost serve -d                    in the background\n"
        "  sudo podhost --instance two serve -d --api-port 0\n"
    )
    parser.add_argument("-d", "--detach", action="store_true", help="run it in the background; return when it is ready")
    parser.add_argument("daemon_flags", nargs="*", metavar="-- DAEMON FLAGS", help="see: podhost serve -- --help")
    for flag, help_text in DAEMON_FLAGS.items():
        parser.add_argument(flag, metavar="VALUE", help=help_text)


DAEMON_FLAGS = {
    "--data-root": "directory of all instances' data (PODHOST_DATA_ROOT, or /var/lib/podhost)",
    "--run-root": "directory of all instances' sockets (PODHOST_RUN_ROOT, or /run/podhost)",
    "--api-port": "port of the API on loopback (6443; 0, and for other instances than default: any free one)",
    "--pod-cidr": "network of the pods",
    "--service-cidr": "network of the Services",
    "--node-ports": "ports for NodePort Services (30000-32767; if another instance has these: 1000 of 20000-29999)",
    "--bridge": "name of the bridge device",
    "--node-name": "name of the node (default: the host's)",
    "--pod-max-pids": "processes and threads that a pod may have (no limit)",
    "--allowed-unsafe-sysctls": "sysctls that pods may set beside the safe ones: kernel.msg*,net.core.somaxconn",
    "--time-scale": "multiply back-offs and the delays and periods of probes, for test suites (1; try 0.1)",
}


_ROOTS = {"run_root": "PODHOST_RUN_ROOT", "data_root": "PODHOST_DATA_ROOT"}


def run(args: argparse.Namespace) -> int:
    require_local(args, "be the daemon")
    moved = _adopt_roots(args)
    paths = instance_paths(args.instance)
    extra = daemon_flags(args)
    if is_running(paths):
        raise HintedError(
            f"cannot start the daemon: instance '{paths.name}' is running already (socket {paths.socket})",
            "end it: podhost stop",
            "or run a second one beside it: podhost --instance NAME serve",
        )
    if args.detach:
        start_daemon(paths, extra)
        say(f"podhost daemon is ready; its log: {paths.log_file}", mark="✓", colour="green")
        if moved:
            say(f"other commands find it with: export {' '.join(moved)}")
        return 0
    if "--help" not in extra:
        require_root_for_daemon(f"podhost {' '.join(sys.argv[1:])}")
    argv = daemon_argv(paths, extra)
    sys.stdout.flush()
    os.execv(argv[0], argv)


def _adopt_roots(args: argparse.Namespace) -> list[str]:
    """Where the flags put the directories, this command looks for socket and log too; what others must be told."""
    moved = []
    for name, variable in _ROOTS.items():
        value = None if getattr(args, name) is None else os.path.abspath(getattr(args, name))
        if value is not None and os.environ.get(variable) != value:
            os.environ[variable] = value
            moved.append(f"{variable}={value}")
    return moved


def daemon_flags(args: argparse.Namespace) -> list[str]:
    """Flags for the daemon: those that this command knows by name, then what came after ``--``."""
    flags = []
    for flag in DAEMON_FLAGS:
        name = flag.removeprefix("--").replace("-", "_")
        value = getattr(args, name)
        if value is not None:
            flags += [flag, os.path.abspath(value) if name in _ROOTS else value]
    return flags + list(args.daemon_flags)

"""The daemon's settings: flags, environment and defaults, read once.

An instance is one independent host.  What the user did not choose (networks, node ports) is chosen at its
first start, recorded in ``network.json`` in its data directory, and kept from then on; so is the node's name.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import NoReturn

from podhost.api.names import check_dns_subdomain
from podhost.api.quantity import quantity_to_int
from podhost.daemon.node_name import default_node_name, read_kept_node_name
from podhost.errors import InvalidError
from podhost.kubelet.eviction_thresholds import DEFAULT_EVICTION_HARD, Threshold, build_thresholds, parse_pairs
from podhost.kubelet.go_format import parse_duration
from podhost.linux.sysctls import find_sysctl_namespace

DEFAULT_DATA_ROOT = Path("/var/lib/podhost")
DEFAULT_RUN_ROOT = Path("/run/podhost")
DEFAULT_API_PORT = 6443
NODE_NAME_FILE = "node-name"

_INSTANCE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")

_BRIDGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,14}")

_HANDLER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """Where an instance lives and what it may choose."""

    instance: str
    data_root: Path
    run_root: Path
    api_port: int
    """0 picks a free port."""
    node_name: str
    pod_cidr: str | None = None
    service_cidr: str | None = None
    node_ports: tuple[int, int] | None = None
    bridge: str | None = None
    image_store: Path | None = None
    ready_fd: int | None = None
    verbose: bool = False
    container_log_max_bytes: int = 10 << 20
    container_log_max_files: int = 5
    housekeeping_interval_s: float = 60.0
    static_pod_dir: Path | None = None
    """``None``: ``manifests`` in the data directory."""
    runtime_handlers: Mapping[str, Path] = field(default_factory=dict)
    """OCI runtimes beside crun and runc, by the handler's name."""
    pod_max_pids: int = 0
    eviction_thresholds: tuple[Threshold, ...] = ()
    eviction_max_pod_grace_s: int = 0
    eviction_transition_s: float = 300.0
    image_gc_high_percent: int = 85
    image_gc_low_percent: int = 80
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    time_scale: float = 1.0
    """Of back-offs and of the delays and periods of probes."""
    token_auth_file: Path | None = None
    """Bearer tokens of users, as of kube-apiserver's flag."""
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    max_streams_per_user: int = 2_000
    max_connections_per_client: int = 3_000
    request_timeout_s: float = 60.0
    min_request_timeout_s: float = 1800.0
    streaming_idle_timeout_s: float = 4 * 3600.0
    """0: none."""
    audit_log_path: Path | None = None
    """``None``: no audit log."""
    audit_policy_file: Path | None = None
    """``None``: the metadata of every request."""
    audit_log_max_bytes: int = 100 << 20
    audit_log_max_backups: int = 10
    audit_log_max_age_days: int = 0

    @property
    def data_dir(self) -> Path:
        return self.data_root / self.instance

    @property
    def run_dir(self) -> Path:
        return self.run_root / self.instance

    @property
    def images_dir(self) -> Path:
        """Shared by all instances of a machine: an instance's name cannot begin with an underscore."""
        return self.image_store or self.data_root / "_images"

    @property
    def node_name_record(self) -> Path:
        return self.data_dir / NODE_NAME_FILE

    @property
    def socket_path(self) -> Path:
        return self.run_dir / "podhost.sock"

    @property
    def mount_namespace_pin(self) -> Path:
        return self.run_dir / "ns" / "mnt"


class _Parser(argparse.ArgumentParser):
    """Wrong flags are one line for whoever starts the daemon, not a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise InvalidError(f"cannot use the flags: {message} (see: podhost serve -- --help)")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535; 0 picks a free one)")
    return int(text)


def _cidr(text: str) -> str:
    try:
        return str(IPv4Network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 network such as 10.200.0.0/17: {error}") from error


def _bridge(text: str) -> str:
    if not _BRIDGE_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device's name: 1 to 15 letters, digits, '_' and '-'")
    return text


def _node_name(text: str) -> str:
    if problems := check_dns_subdomain(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a node's name: {problems[0]}")
    return text


def _port_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not dash or not first.isdigit() or not last.isdigit() or not 0 < int(first) <= int(last) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port range such as 30000-32767")
    return int(first), int(last)


def _size(text: str) -> int:
    try:
        size = quantity_to_int(text)
    except ValueError:
        size = 0
    if size <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 10Mi")
    return size


def _file_count(text: str) -> int:
    if not text.isdigit() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 2")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _handler(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not _HANDLER_NAME.fullmatch(name) or not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name and a program such as gvisor=/usr/local/bin/runsc")
    return name, Path(path).absolute()


def _sysctls(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.split(",")))
    for name in names:
        if find_sysctl_namespace(name.removesuffix("*")) is None:
            raise argparse.ArgumentTypeError(f"{name!r} is not a sysctl that a pod can have of its own (kernel.msg*…)")
    return names


def _pairs(separator: str) -> Callable[[str], dict[str, str]]:
    """The kubelet's flags that map signals to values."""

    def parse(text: str) -> dict[str, str]:
        try:
            return parse_pairs(text, separator)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error

    return parse


def _percent(text: str) -> int:
    if not text.isdigit() or int(text) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = -1.0
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 5m or 30s")
    return seconds


def _positive_seconds(text: str) -> float:
    seconds = _seconds(text)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 1m")
    return seconds


def _time_scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0.001 <= scale <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a factor such as 0.1")
    return scale


def build_parser() -> argparse.ArgumentParser:
    """Flags of ``podhost serve``."""
    env = os.environ
    parser = _Parser(prog="podhost serve", description="Run the daemon of one instance.")
    parser.add_argument("--instance", default=env.get("PODHOST_INSTANCE", "default"))
    parser.add_argument("--data-root", type=Path, default=Path(env.get("PODHOST_DATA_ROOT", DEFAULT_DATA_ROOT)))
    parser.add_argument("--run-root", type=Path, default=Path(env.get("PODHOST_RUN_ROOT", DEFAULT_RUN_ROOT)))
    parser.add_argument("--image-store", type=Path, default=None, help="image store, shared by instances")
    parser.add_argument("--api-port", type=_port, default=None, help="TLS port on loopback; 0 picks a free one")
    parser.add_argument(
        "--node-name", type=_node_name, default=None, help="default: that of the first start, which is the host's"
    )
    parser.add_argument("--pod-cidr", type=_cidr, default=None)
    parser.add_argument("--service-cidr", type=_cidr, default=None)
    parser.add_argument("--node-ports", type=_port_range, default=None, metavar="FIRST-LAST")
    parser.add_argument("--bridge", type=_bridge, default=None, help="name of the bridge device")
    parser.add_argument("--ready-fd", type=int, default=None, help="write 'ready' to this descriptor")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument(
        "--container-log-max-size", type=_size, default=10 << 20, metavar="SIZE", help="rotate larger logs; 10Mi"
    )
    parser.add_argument(
        "--container-log-max-files", type=_file_count, default=5, metavar="N", help="files kept of a log; 5"
    )
    parser.add_argument(
        "--static-pod-dir", type=Path, default=None, metavar="DIR",
        help="directory of static pods, one a file; manifests in the instance's data directory",
    )  # fmt: skip
    parser.add_argument(
        "--runtime-handler", type=_handler, action="append", default=[], metavar="NAME=PATH",
        help="an OCI runtime that a RuntimeClass can name; crun and runc are known where they are installed",
    )  # fmt: skip
    parser.add_argument(
        "--time-scale", type=_time_scale, default=1.0, metavar="FACTOR",
        help="multiply restart and pull back-off and the delays and periods of probes, for test suites; 1",
    )  # fmt: skip
    parser.add_argument(
        "--pod-max-pids", type=int, default=0, metavar="N", help="processes and threads that a pod may have; no limit"
    )
    _add_eviction_flags(parser)
    parser.add_argument(
        "--image-gc-high-threshold", type=_percent, default=85, metavar="PERCENT",
        help="remove unused images when the disk of the image store is fuller; 85; 100: never",
    )  # fmt: skip
    parser.add_argument(
        "--image-gc-low-threshold", type=_percent, default=80, metavar="PERCENT",
        help="until it is no fuller than this; 80",
    )  # fmt: skip
    parser.add_argument(
        "--allowed-unsafe-sysctls", type=_sysctls, default=(), metavar="NAME,…",
        help="sysctls that pods may set beside the safe ones, such as kernel.msg*,net.core.somaxconn",
    )  # fmt: skip
    parser.add_argument(
        "--token-auth-file", type=Path, default=None, metavar="FILE",
        help='bearer tokens of users, one a line: token,user,uid,"group1,group2"',
    )  # fmt: skip
    for flag, default, what in (
        ("--max-requests-inflight", 400, "requests that read"),
        ("--max-mutating-requests-inflight", 200, "requests that write"),
        ("--max-streams-per-user", 2_000, "watches, logs, execs and the like of one user who is no administrator"),
    ):
        parser.add_argument(
            flag, type=_count, default=default, metavar="N", help=f"{what}, served at once; more get 429; {default}"
        )
    parser.add_argument(
        "--max-connections-per-client", type=_count, default=3_000, metavar="N",
        help="connections of one address, or of the unix socket; more are closed; 3000",
    )  # fmt: skip
    parser.add_argument(
        "--request-timeout", type=_positive_seconds, default=60.0, metavar="DURATION",
        help="how long a body may take to come, and an answer to be read; 1m",
    )  # fmt: skip
    parser.add_argument(
        "--min-request-timeout", type=_count, default=1800, metavar="SECONDS",
        help="how long a watch lasts at least that names no timeout, and half of what it lasts at most; 1800",
    )  # fmt: skip
    parser.add_argument(
        "--streaming-connection-idle-timeout", type=_seconds, default=4 * 3600.0, metavar="DURATION",
        help="end an exec, attach or port-forward whose client takes nothing for so long; 0: never; 4h",
    )  # fmt: skip
    parser.add_argument(
        "--audit-log-path", type=Path, default=None, metavar="FILE",
        help="write who asked for what, a line of JSON each; without it nothing is written",
    )  # fmt: skip
    parser.add_argument(
        "--audit-policy-file", type=Path, default=None, metavar="FILE",
        help="a Policy of audit.k8s.io/v1: which requests are written and how much of them; all, at level Metadata",
    )  # fmt: skip
    parser.add_argument(
        "--audit-log-maxsize", type=_count, default=100, metavar="MB", help="put a larger audit log aside; 100"
    )
    parser.add_argument(
        "--audit-log-maxbackup", type=int, default=10, metavar="N", help="old audit logs to keep; 10; 0: all"
    )
    parser.add_argument(
        "--audit-log-maxage", type=int, default=0, metavar="DAYS", help="remove older audit logs; 0: never"
    )
    # How often sizes of logs and volumes are looked at.  For tests; Kubernetes has no name for it.
    parser.add_argument("--housekeeping-interval", type=float, default=60.0, help=argparse.SUPPRESS)
    return parser


def _add_eviction_flags(parser: argparse.ArgumentParser) -> None:
    """As the kubelet's."""
    parser.add_argument(
        "--eviction-hard", type=_pairs("<"), default=parse_pairs(DEFAULT_EVICTION_HARD, "<"), metavar="SIGNAL<AMOUNT,…",
        help="evict pods at once when less is left; " + DEFAULT_EVICTION_HARD.replace("%", "%%")
        + "; an empty list: never",
    )  # fmt: skip
    parser.add_argument(
        "--eviction-soft", type=_pairs("<"), default={}, metavar="SIGNAL<AMOUNT,…",
        help="evict pods when less is left for as long as --eviction-soft-grace-period says; none",
    )  # fmt: skip
    parser.add_argument(
        "--eviction-soft-grace-period", type=_pairs("="), default={}, metavar="SIGNAL=DURATION,…",
        help="grace periods of the soft thresholds, such as memory.available=1m30s",
    )  # fmt: skip
    parser.add_argument(
        "--eviction-minimum-reclaim", type=_pairs("="), default={}, metavar="SIGNAL=AMOUNT,…",
        help="how much more than the threshold there must be before evictions end, such as nodefs.available=1Gi; none",
    )  # fmt: skip
    parser.add_argument(
        "--eviction-pressure-transition-period", type=_seconds, default=300.0, metavar="DURATION",
        help="how long the node's condition outlives the pressure; 5m",
    )  # fmt: skip
    parser.add_argument(
        "--eviction-max-pod-grace-period", type=int, default=0, metavar="SECONDS",
        help="longest grace period of a pod that is evicted for a soft threshold; 0; below 0: the pod's own",
    )  # fmt: skip


def _build_thresholds(args: argparse.Namespace) -> tuple[Threshold, ...]:
    try:
        return build_thresholds(
            args.eviction_hard, args.eviction_soft, args.eviction_soft_grace_period, args.eviction_minimum_reclaim
        )
    except ValueError as error:
        raise InvalidError(f"cannot use the flags of eviction: {error}") from error


def find_ready_fd(argv: list[str]) -> int | None:
    """The descriptor of whoever starts the daemon, also among flags that cannot be used."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--ready-fd", type=int)
    try:
        found, _ = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        return None
    fd: int | None = found.ready_fd
    return fd


def parse_settings(argv: list[str]) -> DaemonSettings:
    """Settings from the command line.

    Raises:
        InvalidError: A value cannot be used.
    """
    args = build_parser().parse_args(argv)
    if not _INSTANCE_NAME.fullmatch(args.instance):
        raise InvalidError(
            f"cannot use instance name {args.instance!r}: it must be 1 to 32 lower-case letters, digits and '-'"
        )
    if args.image_gc_low_threshold >= args.image_gc_high_threshold < 100:
        raise InvalidError("cannot use the flags: --image-gc-low-threshold must be below --image-gc-high-threshold")
    port = args.api_port
    if port is None:
        port = DEFAULT_API_PORT if args.instance == "default" else 0
    kept_name = read_kept_node_name(args.data_root / args.instance / NODE_NAME_FILE)
    return DaemonSettings(
        instance=args.instance,
        data_root=args.data_root.absolute(),
        run_root=args.run_root.absolute(),
        api_port=port,
        node_name=args.node_name or kept_name or default_node_name(),
        pod_cidr=args.pod_cidr,
        service_cidr=args.service_cidr,
        node_ports=args.node_ports,
        bridge=args.bridge,
        image_store=args.image_store.absolute() if args.image_store else None,
        ready_fd=args.ready_fd,
        verbose=args.verbose,
        container_log_max_bytes=args.container_log_max_size,
        container_log_max_files=args.container_log_max_files,
        housekeeping_interval_s=args.housekeeping_interval,
        static_pod_dir=args.static_pod_dir.absolute() if args.static_pod_dir else None,
        runtime_handlers=dict(args.runtime_handler),
        time_scale=args.time_scale,
        pod_max_pids=max(0, args.pod_max_pids),
        eviction_thresholds=_build_thresholds(args),
        eviction_max_pod_grace_s=args.eviction_max_pod_grace_period,
        eviction_transition_s=args.eviction_pressure_transition_period,
        image_gc_high_percent=args.image_gc_high_threshold,
        image_gc_low_percent=args.image_gc_low_threshold,
        allowed_unsafe_sysctls=args.allowed_unsafe_sysctls,
        token_auth_file=args.token_auth_file.absolute() if args.token_auth_file else None,
        max_requests_inflight=args.max_requests_inflight,
        max_mutating_requests_inflight=args.max_mutating_requests_inflight,
        max_streams_per_user=args.max_streams_per_user,
        max_connections_per_client=args.max_connections_per_client,
        request_timeout_s=args.request_timeout,
        min_request_timeout_s=float(args.min_request_timeout),
        streaming_idle_timeout_s=args.streaming_connection_idle_timeout,
        audit_log_path=args.audit_log_path.absolute() if args.audit_log_path else None,
        audit_policy_file=args.audit_policy_file.absolute() if args.audit_policy_file else None,
        audit_log_max_bytes=args.audit_log_maxsize << 20,
        audit_log_max_backups=max(0, args.audit_log_maxbackup),
        audit_log_max_age_days=max(0, args.audit_log_maxage),
    )

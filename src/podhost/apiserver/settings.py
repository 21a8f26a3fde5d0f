"""What the daemon tells the API server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from podhost.apiserver.audit import AuditSink
from podhost.apiserver.audit_policy import EVERYTHING, AuditPolicy
from podhost.apiserver.authn import User
from podhost.apiserver.limits import RequestLimits

if TYPE_CHECKING:
    from podhost.apiserver.account_tokens import AccountKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerSettings:
    """Values of one instance that requests depend on."""

    instance: str
    node_name: str = ""
    """The node whose heartbeats are computed when they are read."""
    service_cidr: str = "10.96.0.0/16"
    node_port_range: tuple[int, int] = (30000, 32767)
    """First and last port, both included."""
    server_addresses: tuple[str, ...] = ()
    """``host:port`` of the TLS listeners, for clients."""
    version: str = "v1.37.1+podhost"
    reserved_cluster_ips: tuple[str, ...] = ()
    """Cluster addresses that no Service gets by itself (that of ``kube-dns``); asking for one is allowed."""
    max_body_bytes: int = 3 << 20
    gzip_above_bytes: int = 128 << 10
    account_key: Callable[[], AccountKey] | None = None
    """Signs the tokens of ServiceAccounts; without one there are none."""
    token_users: Mapping[str, User] = field(default_factory=dict)
    """Bearer tokens that do not change, and whose they are."""
    limits: RequestLimits = field(default_factory=RequestLimits)
    audit: AuditSink | None = None
    """Where the audit log's events go; ``None``: there is none."""
    audit_policy: AuditPolicy = EVERYTHING
    missing_modules: frozenset[str] = frozenset()
    """``AppArmor``, ``SELinux``: by what containers cannot be confined here."""
    watch_write_timeout_s: float = 60.0
    """A watch whose client takes nothing for so long is ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonHooks:
    """What only the daemon can do."""

    kubeconfig: Callable[[], str]
    """A kubeconfig for the calling administrator, as YAML."""
    info: Callable[[], Mapping[str, Any]] = field(default=dict)
    """Facts about the daemon, merged into ``info``."""
    stop: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None
    """Begin to shut down; gets the request's body."""

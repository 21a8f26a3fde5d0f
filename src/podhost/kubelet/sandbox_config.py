"""Pod -> PodSandboxConfig.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from podhost.api import models
from podhost.api.quantity import quantity_to_int
from podhost.cri.ids import PodUID
from podhost.cri.runtime import DnsConfig, HostAlias, PodSandboxConfig, PortMapping
from podhost.errors import InvalidError
from podhost.kubelet.pod_resources import build_pod_resources
from podhost.kubelet.qos import compute_qos_class
from podhost.kubelet.settings import KubeletSettings

SHM_SIZE_ANNOTATION = "podhost.dev/shm-size"
_DEFAULT_SHM_BYTES = 64 << 20
_MAX_HOSTNAME = 63
_MAX_NODE_NAME = 64
"""Of the kernel's field."""
_MAX_FILE_NAME = 255
_PROTOCOLS: dict[str, Literal["TCP", "UDP", "SCTP"]] = {"TCP": "TCP", "UDP": "UDP", "SCTP": "SCTP"}


def build_sandbox_config(
    pod: models.Pod,
    settings: KubeletSettings,
    *,
    attempt: int,
    host_dns: DnsConfig,
    runtime_handler: str = "",
    first_host_id: int = 0,
) -> PodSandboxConfig:
    """What the pod's containers share.

    ``runtime_handler`` is that of the pod's RuntimeClass, ``first_host_id`` of its user namespace, if it has one.

    Raises:
        InvalidError: The hostname is too long.
    """
    spec = pod.spec
    security = spec.security_context
    short_hostname, fqdn = compute_hostname(pod, settings)
    uses_fqdn = bool(fqdn and spec.set_hostname_as_fqdn)
    return PodSandboxConfig(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=PodUID(pod.metadata.uid),
        attempt=attempt,
        hostname=fqdn if uses_fqdn else short_hostname,
        fqdn=fqdn,
        short_hostname=short_hostname if uses_fqdn else "",
        dns=build_dns_config(pod, settings, host_dns),
        host_aliases=tuple(HostAlias(ip=a.ip, hostnames=a.hostnames) for a in spec.host_aliases),
        port_mappings=() if spec.host_network else build_port_mappings(pod),
        log_directory=compute_log_directory(pod, settings),
        host_network=bool(spec.host_network),
        host_pid=bool(spec.host_pid),
        host_ipc=bool(spec.host_ipc),
        share_process_namespace=bool(spec.share_process_namespace),
        first_host_id=first_host_id,
        sysctls={s.name: s.value for s in security.sysctls} if security else {},
        shm_size_bytes=compute_shm_size_bytes(pod),
        resources=replace(build_pod_resources(pod), pids_limit=settings.pod_max_pids or None),
        qos_class=compute_qos_class(pod),
        runtime_handler=runtime_handler,
        labels=dict(pod.metadata.labels),
    )


def compute_log_directory(pod: models.Pod, settings: KubeletSettings) -> Path:
    """``<log_dir>/<namespace>_<name>_<uid>``; a name that is too long for a file is cut, the uid tells it apart."""
    meta = pod.metadata
    room = _MAX_FILE_NAME - len(f"{meta.namespace}__{meta.uid}")
    return settings.log_dir / f"{meta.namespace}_{meta.name[:room]}_{meta.uid}"


def compute_hostname(pod: models.Pod, settings: KubeletSettings) -> tuple[str, str]:
    """(short name, fully qualified name or empty), as pkg/kubelet GeneratePodHostNameAndDomain.

    Raises:
        InvalidError: The fully qualified name is wanted as the hostname, and does not fit.
    """
    spec = pod.spec
    if spec.hostname_override:
        return spec.hostname_override[:64], ""
    if spec.host_network:
        return settings.node_name, ""
    hostname = spec.hostname or pod.metadata.name[:_MAX_HOSTNAME].rstrip("-.")
    if not spec.subdomain:
        return hostname, ""
    fqdn = f"{hostname}.{spec.subdomain}.{pod.metadata.namespace}.svc.{settings.cluster_domain}"
    if spec.set_hostname_as_fqdn and len(fqdn) > _MAX_NODE_NAME:
        raise InvalidError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long "
            f"({_MAX_NODE_NAME} characters is the max, {len(fqdn)} characters requested)"
        )
    return hostname, fqdn


def compute_shm_size_bytes(pod: models.Pod) -> int:
    """Of the annotation, or 64 MiB; a broken annotation counts as absent."""
    text = pod.metadata.annotations.get(SHM_SIZE_ANNOTATION)
    if text is None:
        return _DEFAULT_SHM_BYTES
    try:
        size = quantity_to_int(text)
    except ValueError:
        return _DEFAULT_SHM_BYTES
    return size if size > 0 else _DEFAULT_SHM_BYTES


def build_port_mappings(pod: models.Pod) -> tuple[PortMapping, ...]:
    """hostPorts of all containers that run beside each other."""
    return tuple(
        PortMapping(
            protocol=_PROTOCOLS.get(port.protocol or "TCP", "TCP"),
            container_port=port.container_port,
            host_port=port.host_port,
            host_ip=port.host_ip or "",
        )
        for container in (*pod.spec.init_containers, *pod.spec.containers)
        for port in container.ports
        if port.host_port
    )


def build_dns_config(pod: models.Pod, settings: KubeletSettings, host: DnsConfig) -> DnsConfig:
    """``dnsPolicy`` and ``dnsConfig`` (pkg/kubelet/network/dns)."""
    spec = pod.spec
    policy = spec.dns_policy or "ClusterFirst"
    if policy == "ClusterFirst" and spec.host_network:
        policy = "Default"
    if policy == "None":
        base = DnsConfig()
    elif policy == "Default" or not settings.cluster_dns:
        base = host
    else:
        domain = settings.cluster_domain
        searches = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain, *host.searches)
        base = DnsConfig(servers=settings.cluster_dns, searches=_unique(searches), options=("ndots:5",))
    custom = spec.dns_config
    if custom is None:
        return base
    return DnsConfig(
        servers=_unique((*base.servers, *custom.nameservers)),
        searches=_unique((*base.searches, *custom.searches)),
        options=_merge_options(base.options, custom.options),
    )


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _merge_options(base: tuple[str, ...], custom: tuple[models.PodDNSConfigOption, ...]) -> tuple[str, ...]:
    """The pod's options replace those of the same name."""
    merged = {option.partition(":")[0]: option for option in base}
    for option in custom:
        if option.name:
            merged[option.name] = option.name if option.value is None else f"{option.name}:{option.value}"
    return tuple(merged.values())


def choose_host_dns(host: DnsConfig, read_upstream: Callable[[], DnsConfig]) -> DnsConfig:
    """What pods get of the host's resolvers: never one on the host's loopback, which is not theirs.

    Where systemd-resolved listens on 127.0.0.53, its own upstreams are taken (as kubeadm has kubelets do).
    """
    if host.servers and not any(map(_is_reachable, host.servers)):
        upstream = read_upstream()
        if any(map(_is_reachable, upstream.servers)):
            host = upstream
    return replace(host, servers=tuple(filter(_is_reachable, host.servers)))


def _is_reachable(server: str) -> bool:
    return not server.startswith("127.") and server.partition("%")[0] not in ("::1", "0.0.0.0", "::")


def parse_resolv_conf(text: str) -> DnsConfig:
    """resolv.conf(5): of several ``search`` lines the last counts."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.partition("#")[0].partition(";")[0].split()
        match words[:1]:
            case ["nameserver"] if len(words) > 1:
                servers.append(words[1])
            case ["search"]:
                searches = tuple(word.rstrip(".") or "." for word in words[1:])
            case ["domain"] if len(words) > 1:
                searches = (words[1],)
            case ["options"]:
                options.extend(words[1:])
    return DnsConfig(servers=tuple(servers), searches=searches, options=_unique(options))

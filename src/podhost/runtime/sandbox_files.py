"""Contents of a pod's /etc/hosts and /etc/resolv.conf, in the kubelet's formats (pure)."""

from __future__ import annotations

from podhost.cri.runtime import DnsConfig, HostAlias, PodSandboxConfig

_LOCAL_HOSTS = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)


def build_hosts(config: PodSandboxConfig, ips: tuple[str, ...], host_file: str) -> str:
    """``/etc/hosts``.  ``host_file`` is the host's own, which pods on the host's network see."""
    if config.host_network:
        text = "# Kubernetes-managed hosts file (host network).\n" + host_file
    else:
        short = config.short_hostname or config.hostname
        names = f"{config.fqdn}\t{short}" if config.fqdn else short
        text = "# Kubernetes-managed hosts file.\n" + _LOCAL_HOSTS + "".join(f"{ip}\t{names}\n" for ip in ips)
    return text + _build_aliases(config.host_aliases)


def _build_aliases(aliases: tuple[HostAlias, ...]) -> str:
    if not aliases:
        return ""
    lines = "".join("\t".join((alias.ip, *alias.hostnames)) + "\n" for alias in aliases)
    return "\n# Entries added by HostAliases.\n" + lines


def build_resolv_conf(dns: DnsConfig, host_file: str) -> str:
    """``/etc/resolv.conf``; without any setting it is the host's."""
    lines = []
    if dns.searches:
        lines.append("search " + " ".join(dns.searches))
    lines.extend(f"nameserver {server}" for server in dns.servers)
    if dns.options:
        lines.append("options " + " ".join(dns.options))
    return "\n".join(lines) + "\n" if lines else host_file

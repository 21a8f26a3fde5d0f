"""What a pod shares with its host, what its containers share, and the names it goes by."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from harness.covers import covers
from harness.daemon import Daemon, wait_until
from harness.pods import build_pod


def _apply(daemon: Daemon, namespace: str, name: str, script: str = "sleep infinity", **spec: Any) -> None:
    manifest = build_pod(name, "debian", "bash", "-c", script, **spec)
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)


def _wait(daemon: Daemon, namespace: str, *names: str) -> None:
    pods = [f"pod/{name}" for name in names]
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", *pods, "--timeout=40s")


def _run(daemon: Daemon, namespace: str, name: str, script: str) -> str:
    return daemon.kubectl("exec", "-n", namespace, name, "--", "bash", "-c", script).stdout


def _namespaces(daemon: Daemon, namespace: str, name: str) -> dict[str, str]:
    kinds = ("net", "pid", "ipc", "uts")
    links = _run(daemon, namespace, name, " ".join(f"readlink /proc/self/ns/{kind};" for kind in kinds)).split()
    return dict(zip(kinds, links, strict=True))


def _own(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


@covers("PodSpec.hostIPC", "PodSpec.hostNetwork", "PodSpec.hostPID")
def test_namespaces_of_the_host_are_shared_when_they_are_asked_for(daemon: Daemon, namespace: str) -> None:
    _apply(daemon, namespace, "own")
    _apply(daemon, namespace, "net", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")
    _apply(daemon, namespace, "pid", hostPID=True)
    _apply(daemon, namespace, "ipc", hostIPC=True)
    _wait(daemon, namespace, "own", "net", "pid", "ipc")
    host = {kind: _own(kind) for kind in ("net", "pid", "ipc", "uts")}
    seen = {name: _namespaces(daemon, namespace, name) for name in ("own", "net", "pid", "ipc")}
    shared = {name: {kind for kind in host if found[kind] == host[kind]} for name, found in seen.items()}
    assert shared == {"own": set(), "net": {"net", "uts"}, "pid": {"pid"}, "ipc": {"ipc"}}
    status = daemon.pod("net", namespace)["status"]
    assert status["podIP"] == status["hostIP"]
    assert status["hostIPs"][0] == {"ip": status["hostIP"]}
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert f"{namespace}.svc.cluster.local" in _run(daemon, namespace, "net", "cat /etc/resolv.conf")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert _run(daemon, namespace, "net", f": < /dev/tcp/127.0.0.1/{port} && echo open") == "open\n"


@covers("PodSpec.shareProcessNamespace")
def test_a_shared_process_namespace_has_a_first_process_that_reaps(daemon: Daemon, namespace: str) -> None:
    """Zombies: kubernetes#81042, containerd#4255."""
    # The orphan's parent ends at once, and nobody in the container waits for what is not its child.
    orphan = "(bash -c 'sleep 0.2 & exec sleep 0.1' &) ; exec sleep infinity"
    document = json.loads(build_pod("p", "debian", "bash", "-c", orphan, shareProcessNamespace=True))
    document["spec"]["containers"].append({"name": "other", "image": "debian", "command": ["sleep", "infinity"]})
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    _wait(daemon, namespace, "p")
    assert "catatonit" in _run(daemon, namespace, "p", "tr '\\0' ' ' < /proc/1/cmdline")
    states = "cat /proc/[0-9]*/stat | awk '{print $2 $3}'"
    wait_until(
        lambda: _run(daemon, namespace, "p", states).count("(sleep)") == 2, what="the orphans to end and be reaped"
    )
    assert "(sleep)Z" not in _run(daemon, namespace, "p", states)


@covers(
    "HostAlias.hostnames", "HostAlias.ip", "PodDNSConfig.nameservers", "PodDNSConfig.options",
    "PodDNSConfig.searches", "PodDNSConfigOption.name", "PodDNSConfigOption.value", "PodSpec.dnsConfig",
    "PodSpec.dnsPolicy", "PodSpec.hostAliases", "PodSpec.hostname", "PodSpec.hostnameOverride",
    "PodSpec.setHostnameAsFQDN", "PodSpec.subdomain",
)  # fmt: skip
def test_names_and_resolvers_are_those_of_the_spec(daemon: Daemon, namespace: str) -> None:
    aliases = [{"ip": "10.1.2.3", "hostnames": ["foo.local", "bar.local"]}]
    _apply(daemon, namespace, "plain", hostAliases=aliases, hostname="box", subdomain="sub")
    _apply(daemon, namespace, "whole", hostname="box", subdomain="sub", setHostnameAsFQDN=True)
    _apply(daemon, namespace, "given", hostnameOverride="any.name.example")
    own = {"nameservers": ["192.0.2.53"], "searches": ["example.org"], "options": [{"name": "ndots", "value": "2"},
                                                                                  {"name": "edns0"}]}  # fmt: skip
    _apply(daemon, namespace, "own-dns", dnsPolicy="None", dnsConfig=own)
    _apply(daemon, namespace, "added-dns", dnsConfig={"searches": ["example.org"], "options": own["options"]})
    _apply(daemon, namespace, "host-dns", dnsPolicy="Default")
    _wait(daemon, namespace, "plain", "whole", "given", "own-dns", "added-dns", "host-dns")
    domain = f"box.sub.{namespace}.svc.cluster.local"
    names = {name: _run(daemon, namespace, name, "hostname").strip() for name in ("plain", "whole", "given", "own-dns")}
    assert names == {"plain": "box", "whole": domain, "given": "any.name.example", "own-dns": "own-dns"}
    hosts = _run(daemon, namespace, "plain", "cat /etc/hosts")
    address = daemon.pod("plain", namespace)["status"]["podIP"]
    assert f"{address}\t{domain}\tbox\n" in hosts
    assert f"\t{domain}\tbox\n" in _run(daemon, namespace, "whole", "cat /etc/hosts")
    assert "10.1.2.3\tfoo.local\tbar.local\n" in hosts
    resolv = {name: _run(daemon, namespace, name, "cat /etc/resolv.conf").splitlines()
              for name in ("own-dns", "added-dns", "host-dns")}  # fmt: skip
    assert sorted(resolv["own-dns"]) == ["nameserver 192.0.2.53", "options ndots:2 edns0", "search example.org"]
    (search,) = [line for line in resolv["added-dns"] if line.startswith("search ")]
    assert search.split()[1] == f"{namespace}.svc.cluster.local"
    assert search.split()[-1] == "example.org"
    assert "options ndots:2 edns0" in resolv["added-dns"]
    assert not any("cluster.local" in line for line in resolv["host-dns"])

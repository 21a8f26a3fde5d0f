"""Sandbox and container configurations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.covers import covers
from harness.cri_fakes import FakeImages
from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.runtime import ContainerConfig, DnsConfig, PodSandboxConfig, SelinuxOptions
from podhost.errors import InvalidError
from podhost.kubelet.container_config import build_container_config
from podhost.kubelet.environment import ConfigError
from podhost.kubelet.node_context import read_host_facts
from podhost.kubelet.pod_actions import ContainerStart
from podhost.kubelet.sandbox_config import (
    build_sandbox_config,
    choose_host_dns,
    compute_log_directory,
    parse_resolv_conf,
)
from podhost.kubelet.settings import KubeletSettings

SETTINGS = KubeletSettings(node_name="n1", log_dir=Path("/logs"), state_dir=Path("/state"), cluster_dns=("10.96.0.10",))
HOST_DNS = DnsConfig(servers=("9.9.9.9",), searches=("lan",), options=("timeout:1",))


def _pod(container: dict[str, Any] | None = None, **spec: Any) -> models.Pod:
    return msgspec.convert(make_pod("web", {"name": "main", **(container or {})}, **spec), models.Pod)


def _container(
    container: dict[str, Any] | None = None, env: tuple[tuple[str, str], ...] = (), user: str = "", **spec: Any
) -> ContainerConfig:
    pod = _pod(container, **spec)
    return build_container_config(
        pod, pod.spec.containers[0], ContainerStart("main", "app", 2, 20), settings=SETTINGS,
        image=FakeImages().add("nginx:1", user=user), env=env, mounts=(), memory_capacity_bytes=4 << 30,
    )  # fmt: skip


def _sandbox(**spec: Any) -> PodSandboxConfig:
    return build_sandbox_config(_pod(**spec), SETTINGS, attempt=0, host_dns=HOST_DNS)


def test_log_and_message_files_belong_to_the_attempt() -> None:
    config = _container()
    assert config.log_path == Path("/logs/default_web_uid-web/main/2.log")
    message = config.mounts[-1]
    assert (message.container_path, message.host_path) == ("/dev/termination-log", Path("/state/uid-web/main/2"))


def test_a_log_directory_has_a_name_that_a_file_may_have() -> None:
    pod = _pod()
    long = msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, name="a" * 253))
    name = compute_log_directory(long, SETTINGS).name
    assert len(name) == 255
    assert name.startswith("default_aaa")
    assert name.endswith("a_uid-web")


def test_command_and_arguments_are_expanded() -> None:
    config = _container({"command": ["$(A)"], "args": ["$$(A)", "$(B)"]}, env=(("A", "1"),))
    assert (config.command, config.args) == (("1",), ("$(A)", "$(B)"))


def test_resources_become_cgroup_values() -> None:
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "1Gi"}}
    values = _container({"resources": resources}).resources
    assert (values.cpu_shares, values.cpu_quota_us, values.cpu_period_us) == (256, 50_000, 100_000)
    assert values.memory_limit_bytes == 64 << 20
    assert values.oom_score_adj == 750
    assert _container().resources.oom_score_adj == 1000


def test_security_context_of_the_container_wins_over_that_of_the_pod() -> None:
    security = _container(
        {"securityContext": {"runAsUser": 5, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}},
        securityContext={"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]},
    ).security
    assert (security.run_as_user, security.run_as_group, security.supplemental_groups) == (5, 2, (4, 3))
    assert (security.no_new_privileges, security.capabilities_drop) == (True, ("ALL",))
    assert security.seccomp_profile == "RuntimeDefault"
    assert _container({"securityContext": {"privileged": True}}).security.seccomp_profile == "Unconfined"


WHERE = '(pod: "web_default(uid-web)", container: main)'


@pytest.mark.parametrize(
    ("context", "user", "message"),
    [
        ({}, "", f"container has runAsNonRoot and image will run as root {WHERE}"),
        ({}, "0", f"container has runAsNonRoot and image will run as root {WHERE}"),
        ({"runAsUser": 0}, "", f"container's runAsUser breaks non-root policy {WHERE}"),
        (
            {},
            "web",
            f"container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root {WHERE}",
        ),
        (
            {},
            "root",
            f"container has runAsNonRoot and image has non-numeric user (root), cannot verify user is non-root {WHERE}",
        ),
        ({}, ":web", f"container has runAsNonRoot and image will run as root {WHERE}"),
        (
            {},
            "-1",
            "container has runAsNonRoot and image has an invalid user id (-1). (Must be 1-(2147483647)): "
            f"must be between 0 and 2147483647, inclusive {WHERE}",
        ),
        ({"runAsUser": 7}, "0", ""),
        ({"runAsUser": 7}, "root", ""),
        ({}, "7:7", ""),
    ],
)
def test_run_as_non_root_is_verified(context: dict[str, Any], user: str, message: str) -> None:
    container = {"securityContext": {"runAsNonRoot": True, **context}}
    if not message:
        _container(container, user=user)
        return
    with pytest.raises(ConfigError) as error:
        _container(container, user=user)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("shared", "own", "path"),
    [
        ({"runAsUser": 70000}, {}, "spec.securityContext.runAsUser"),
        ({"runAsUser": 70000}, {"runAsUser": 70000}, "spec.containers[0].securityContext.runAsUser"),
        ({}, {"runAsGroup": 70000}, "spec.containers[0].securityContext.runAsGroup"),
        ({"fsGroup": 70000}, {}, "spec.securityContext.fsGroup"),
        ({"supplementalGroups": [1, 70000]}, {}, "spec.securityContext.supplementalGroups[1]"),
        ({"runAsUser": 70000}, {"runAsUser": 65535}, ""),
    ],
)
def test_ids_that_a_user_namespace_does_not_have_are_named(
    shared: dict[str, Any], own: dict[str, Any], path: str
) -> None:
    container = {"securityContext": own}
    assert _container(container, securityContext=shared).name == "main"
    if not path:
        assert _container(container, securityContext=shared, hostUsers=False).name == "main"
        return
    with pytest.raises(ConfigError) as error:
        _container(container, securityContext=shared, hostUsers=False)
    detail = "must be between 0 and 65535, inclusive, when `spec.hostUsers` is false"
    assert str(error.value) == f"{path}: Invalid value: 70000: {detail}"


def test_cluster_dns_is_the_default() -> None:
    assert _sandbox().dns == DnsConfig(
        servers=("10.96.0.10",),
        searches=("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"),
        options=("ndots:5",),
    )


def test_dns_policies() -> None:
    assert _sandbox(dnsPolicy="Default").dns == HOST_DNS
    assert _sandbox(hostNetwork=True).dns == HOST_DNS
    assert _sandbox(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet").dns.servers == ("10.96.0.10",)
    own = {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}
    assert _sandbox(dnsPolicy="None", dnsConfig=own).dns == DnsConfig(
        servers=("1.1.1.1",), options=("ndots:2", "edns0")
    )
    assert _sandbox(dnsConfig=own).dns.options == ("ndots:2", "edns0")


def test_hostname_comes_from_the_pod() -> None:
    assert (_sandbox().hostname, _sandbox().fqdn) == ("web", "")
    named = _sandbox(hostname="h", subdomain="sub")
    assert (named.hostname, named.fqdn) == ("h", "h.sub.default.svc.cluster.local")
    assert _sandbox(hostNetwork=True).hostname == "n1"
    whole = _sandbox(hostname="h", subdomain="sub", setHostnameAsFQDN=True)
    assert (whole.hostname, whole.fqdn, whole.short_hostname) == (named.fqdn, named.fqdn, "h")
    assert _sandbox(hostname="h", setHostnameAsFQDN=True).hostname == "h"


def test_fully_qualified_hostname_has_to_fit_into_the_kernels_field() -> None:
    rest = ".sub.default.svc.cluster.local"
    fitting = "h" * (64 - len(rest))
    assert _sandbox(hostname=fitting, subdomain="sub", setHostnameAsFQDN=True).hostname == fitting + rest
    with pytest.raises(InvalidError) as caught:
        _sandbox(hostname=f"{fitting}h", subdomain="sub", setHostnameAsFQDN=True)
    assert str(caught.value) == (
        f"failed to construct FQDN from pod hostname and cluster domain, FQDN {fitting}h{rest} is too long "
        "(64 characters is the max, 65 characters requested)"
    )
    assert _sandbox(hostname=f"{fitting}h", subdomain="sub").hostname == f"{fitting}h"


def test_long_names_are_cut_to_a_hostname() -> None:
    document = make_pod("a" * 62 + "-b")
    pod = msgspec.convert(document, models.Pod)
    assert build_sandbox_config(pod, SETTINGS, attempt=0, host_dns=HOST_DNS).hostname == "a" * 62


def test_host_ports_are_collected() -> None:
    config = build_sandbox_config(
        _pod({"ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}, {"containerPort": 81}]}),
        SETTINGS,
        attempt=0,
        host_dns=HOST_DNS,
    )
    (mapping,) = config.port_mappings
    assert (mapping.host_port, mapping.container_port, mapping.host_ip, mapping.protocol) == (
        8080,
        80,
        "127.0.0.1",
        "TCP",
    )


def test_resolv_conf_of_the_host_is_read() -> None:
    text = "# c\nnameserver 1.1.1.1\nnameserver 2.2.2.2 ; x\nsearch a b\nsearch c.\noptions rotate\n"
    assert parse_resolv_conf(text) == DnsConfig(servers=("1.1.1.1", "2.2.2.2"), searches=("c",), options=("rotate",))


@pytest.mark.parametrize(
    ("host", "upstream", "wanted"),
    [
        (("1.1.1.1", "9.9.9.9"), ("8.8.8.8",), ("1.1.1.1", "9.9.9.9")),
        (("127.0.0.53",), ("8.8.8.8",), ("8.8.8.8",)),
        (("127.0.0.1", "::1"), ("8.8.8.8", "127.0.0.2"), ("8.8.8.8",)),
        (("127.0.0.1", "1.1.1.1"), ("8.8.8.8",), ("1.1.1.1",)),
        (("127.0.0.1",), (), ()),
        (("127.0.0.1",), ("127.0.0.1",), ()),
        ((), ("8.8.8.8",), ()),
    ],
)
def test_pods_never_get_a_resolver_on_the_hosts_loopback(
    host: tuple[str, ...], upstream: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    assert choose_host_dns(DnsConfig(servers=host), lambda: DnsConfig(servers=upstream)).servers == wanted


def test_searches_come_with_the_resolvers(tmp_path: Path) -> None:
    (tmp_path / "stub").write_text("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n")
    (tmp_path / "upstream").write_text("nameserver 192.168.1.1\nsearch home.example\n")
    settings = replace(SETTINGS, resolv_conf=tmp_path / "stub", upstream_resolv_conf=tmp_path / "upstream")
    assert read_host_facts(settings).dns == DnsConfig(servers=("192.168.1.1",), searches=("home.example",))


def test_the_pods_processes_are_limited_where_the_instance_says_so() -> None:
    assert _sandbox().resources.pids_limit is None
    config = build_sandbox_config(_pod(), replace(SETTINGS, pod_max_pids=500), attempt=0, host_dns=HOST_DNS)
    assert config.resources.pids_limit == 500


_MINE = {"type": "Localhost", "localhostProfile": "mine"}


@pytest.mark.parametrize(
    ("own", "shared", "profile"),
    [
        (None, None, "RuntimeDefault"),
        (None, {"appArmorProfile": {"type": "Unconfined"}}, "Unconfined"),
        ({"appArmorProfile": _MINE}, {"appArmorProfile": {"type": "Unconfined"}}, "localhost/mine"),
        ({"appArmorProfile": {"type": "RuntimeDefault"}}, {"appArmorProfile": _MINE}, "RuntimeDefault"),
        ({"privileged": True}, None, "RuntimeDefault"),
    ],
)
@covers(
    "AppArmorProfile.localhostProfile", "AppArmorProfile.type", "PodSecurityContext.appArmorProfile",
    "SecurityContext.appArmorProfile",
)  # fmt: skip
def test_an_apparmor_profile_is_the_containers_or_else_the_pods(own: Any, shared: Any, profile: str) -> None:
    config = _container({"securityContext": own} if own else None, securityContext=shared or {})
    assert config.security.apparmor_profile == profile


@pytest.mark.parametrize(
    ("own", "shared", "options"),
    [
        (None, None, None),
        (None, {"level": "s0:c1,c2"}, SelinuxOptions(level="s0:c1,c2")),
        ({"type": "spc_t", "user": "u"}, {"level": "s0:c1,c2"}, SelinuxOptions(type="spc_t", user="u")),
        ({"role": "r"}, None, SelinuxOptions(role="r")),
        ({}, None, None),
    ],
)
@covers(
    "PodSecurityContext.seLinuxOptions", "SELinuxOptions.level", "SELinuxOptions.role", "SELinuxOptions.type",
    "SELinuxOptions.user", "SecurityContext.seLinuxOptions",
)  # fmt: skip
def test_selinux_options_are_the_containers_or_else_the_pods(own: Any, shared: Any, options: Any) -> None:
    container = None if own is None else {"securityContext": {"seLinuxOptions": own}}
    config = _container(container, securityContext={} if shared is None else {"seLinuxOptions": shared})
    assert config.security.selinux == options

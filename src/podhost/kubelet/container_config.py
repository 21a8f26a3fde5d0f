"""Pod + Container -> ContainerConfig.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from podhost.api import models
from podhost.api.quantity import quantity_to_int
from podhost.cri.ids import ContainerId
from podhost.cri.images import Image
from podhost.cri.runtime import ContainerConfig, LinuxResources, Mount, SecurityConfig, SelinuxOptions
from podhost.kubelet.environment import ConfigError
from podhost.kubelet.expansion import expand
from podhost.kubelet.go_format import quote
from podhost.kubelet.pod_actions import AnyContainer, ContainerStart, compute_spec_hash
from podhost.kubelet.pod_resources import CPU_PERIOD_US, MAX_BYTES, compute_cpu_quota_us, compute_cpu_shares, to_millis
from podhost.kubelet.qos import compute_oom_score_adj
from podhost.kubelet.runtime_status import (
    LABEL_BACKOFF_S,
    LABEL_KIND,
    LABEL_ROUND,
    LABEL_SPEC_HASH,
    LABEL_TERMINATION_LOG,
    LABEL_TERMINATION_POLICY,
)
from podhost.kubelet.sandbox_config import compute_log_directory
from podhost.kubelet.settings import KubeletSettings
from podhost.kubelet.user_ids import verify_mapped_ids

_MAX_ID = 2**31 - 1
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
DEFAULT_TERMINATION_PATH = "/dev/termination-log"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPaths:
    """Files on the host that belong to one attempt of a container."""

    log: Path
    termination: Path


def compute_paths(pod: models.Pod, start: ContainerStart, settings: KubeletSettings) -> ContainerPaths:
    """Where log and termination message of an attempt are."""
    return ContainerPaths(
        log=compute_log_directory(pod, settings) / start.name / f"{start.attempt}.log",
        termination=settings.state_dir / pod.metadata.uid / start.name / str(start.attempt),
    )


def build_container_config(
    pod: models.Pod,
    container: AnyContainer,
    start: ContainerStart,
    *,
    settings: KubeletSettings,
    image: Image,
    env: tuple[tuple[str, str], ...],
    mounts: tuple[Mount, ...],
    memory_capacity_bytes: int = 0,
    pid_target: ContainerId | None = None,
) -> ContainerConfig:
    """Everything that the runtime needs to know.

    Raises:
        ConfigError: ``runAsNonRoot`` is asked for and cannot be guaranteed, or an id is not in the user namespace.
    """
    verify_mapped_ids(pod, container)
    verify_run_as_non_root(pod, container, image)
    paths = compute_paths(pod, start, settings)
    # Kubernetes expands commands with the pod's own variables only, not with the image's.
    own = dict(env)
    path = container.termination_message_path or DEFAULT_TERMINATION_PATH
    return ContainerConfig(
        name=container.name,
        attempt=start.attempt,
        image_id=image.id,
        image_ref=container.image or "",
        command=tuple(expand(word, own) for word in container.command),
        args=tuple(expand(word, own) for word in container.args),
        working_dir=container.working_dir or "",
        env=env,
        mounts=(*mounts, Mount(container_path=path, host_path=paths.termination, relabel=True)),
        log_path=paths.log,
        stdin=bool(container.stdin),
        stdin_once=bool(container.stdin_once),
        tty=bool(container.tty),
        resources=build_resources(pod, container, memory_capacity_bytes),
        security=build_security(pod, container),
        pid_target=pid_target,
        stop_signal=(container.lifecycle.stop_signal if container.lifecycle else None) or "",
        labels={
            LABEL_KIND: start.kind,
            LABEL_SPEC_HASH: compute_spec_hash(container),
            LABEL_BACKOFF_S: f"{start.backoff_s:g}",
            LABEL_ROUND: str(start.round),
            LABEL_TERMINATION_LOG: str(paths.termination),
            LABEL_TERMINATION_POLICY: container.termination_message_policy or "File",
        },
    )


def verify_run_as_non_root(pod: models.Pod, container: AnyContainer, image: Image) -> None:
    """Raises ConfigError, with the kubelet's texts, when root could run despite ``runAsNonRoot``."""
    own, shared = container.security_context, pod.spec.security_context
    non_root = _first(own and own.run_as_non_root, shared and shared.run_as_non_root)
    if not non_root:
        return
    where = f"pod: {quote(_describe(pod))}, container: {container.name}"
    uid = _first(own and own.run_as_user, shared and shared.run_as_user)
    if uid is not None:
        if uid == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy ({where})")
        return
    user = image.config.user.partition(":")[0]
    if user and not _NUMBER.fullmatch(user):
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({user}), "
            f"cannot verify user is non-root ({where})"
        )
    number = int(user or "0")
    if number == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root ({where})")
    if not 0 < number <= _MAX_ID:
        raise ConfigError(
            f"container has runAsNonRoot and image has an invalid user id ({number}). (Must be 1-({_MAX_ID})): "
            f"must be between 0 and {_MAX_ID}, inclusive ({where})"
        )


def _describe(pod: models.Pod) -> str:
    meta = pod.metadata
    return f"{meta.name}_{meta.namespace}({meta.uid})"


def _first(own: object, shared: object) -> object:
    """The container's value wins over the pod's."""
    return own if own is not None else shared


def build_security(pod: models.Pod, container: AnyContainer) -> SecurityConfig:
    """The container's security context on top of the pod's."""
    own = container.security_context or models.SecurityContext()
    shared = pod.spec.security_context or models.PodSecurityContext()
    capabilities = own.capabilities or models.Capabilities()
    groups = shared.supplemental_groups
    if shared.fs_group is not None and shared.fs_group not in groups:
        groups = (*groups, shared.fs_group)
    privileged = bool(own.privileged)
    return SecurityConfig(
        run_as_user=own.run_as_user if own.run_as_user is not None else shared.run_as_user,
        run_as_group=own.run_as_group if own.run_as_group is not None else shared.run_as_group,
        supplemental_groups=groups,
        merge_image_groups=shared.supplemental_groups_policy != "Strict",
        privileged=privileged,
        capabilities_add=capabilities.add,
        capabilities_drop=capabilities.drop,
        read_only_rootfs=bool(own.read_only_root_filesystem),
        unmasked_proc=own.proc_mount == "Unmasked",
        no_new_privileges=own.allow_privilege_escalation is False,
        seccomp_profile="Unconfined" if privileged else _seccomp(own.seccomp_profile or shared.seccomp_profile),
        apparmor_profile=_apparmor(own.app_armor_profile or shared.app_armor_profile),
        selinux=_selinux(own.se_linux_options or shared.se_linux_options),
    )


def _seccomp(profile: models.SeccompProfile | None) -> str:
    if profile is None:
        return "RuntimeDefault"
    if profile.type == "Localhost":
        return f"/var/lib/kubelet/seccomp/{profile.localhost_profile or ''}"
    return profile.type


def _apparmor(profile: models.AppArmorProfile | None) -> str:
    if profile is None:
        return "RuntimeDefault"
    return f"localhost/{profile.localhost_profile or ''}" if profile.type == "Localhost" else profile.type


def _selinux(options: models.SELinuxOptions | None) -> SelinuxOptions | None:
    """The container's in place of the pod's, as a whole."""
    if options is None:
        return None
    found = SelinuxOptions(
        user=options.user or "", role=options.role or "", type=options.type or "", level=options.level or ""
    )
    return None if found == SelinuxOptions() else found


def build_resources(pod: models.Pod, container: AnyContainer, memory_capacity_bytes: int = 0) -> LinuxResources:
    """cgroup values from requests and limits (pkg/kubelet/cm/helpers_linux.go)."""
    limits = container.resources.limits if container.resources else {}
    requests = container.resources.requests if container.resources else {}
    quota = period = None
    if "cpu" in limits and (limit := to_millis(limits["cpu"])) > 0:
        period = CPU_PERIOD_US
        quota = compute_cpu_quota_us(limit)
    request = to_millis(requests.get("cpu", limits.get("cpu", 0)))
    memory = min(quantity_to_int(limits["memory"]), MAX_BYTES) if "memory" in limits else 0
    return LinuxResources(
        cpu_shares=compute_cpu_shares(request),
        cpu_quota_us=quota,
        cpu_period_us=period,
        memory_limit_bytes=memory or None,
        oom_score_adj=compute_oom_score_adj(pod, container, memory_capacity_bytes),
        huge_page_limits=tuple(
            (quantity_to_int(name.removeprefix("hugepages-")), quantity_to_int(amount))
            for name, amount in sorted(limits.items())
            if name.startswith("hugepages-")
        ),
    )

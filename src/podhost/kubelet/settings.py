"""What the kubelet is told at its start; nothing here is read from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from podhost.kubelet.eviction_thresholds import Threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffSettings:
    """Delays of one kind of retry; Kubernetes' defaults for containers and images."""

    initial_s: float = 10.0
    max_s: float = 300.0
    reset_after_s: float = 600.0
    """A run longer than this is forgiven: the next delay is the first again."""

    def scaled(self, factor: float) -> BackoffSettings:
        """The same behaviour in quicker or slower motion."""
        return BackoffSettings(
            initial_s=self.initial_s * factor, max_s=self.max_s * factor, reset_after_s=self.reset_after_s * factor
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletSettings:
    """Values of one instance."""

    node_name: str
    log_dir: Path
    """Root of the pods' logs: ``<log_dir>/<namespace>_<name>_<uid>/<container>/<attempt>.log``."""
    state_dir: Path
    """Files of the kubelet itself: termination messages, ``<state_dir>/<uid>/<container>/<attempt>``."""
    host_ips: tuple[str, ...] = ("127.0.0.1",)
    boot_id: str = ""
    instance: str = "default"
    static_pod_dir: Path | None = None
    """Directory of static pods; ``None``: there are none."""
    cluster_domain: str = "cluster.local"
    cluster_dns: tuple[str, ...] = ()
    """Addresses of the cluster's DNS; empty while there is none: pods then get the host's."""
    resolv_conf: Path = Path("/etc/resolv.conf")
    upstream_resolv_conf: Path = Path("/run/systemd/resolve/resolv.conf")
    """Read instead where the first names resolvers on the host's loopback only."""
    cpu_millis: int = 0
    """Capacity of the node; 0: what the machine has."""
    memory_bytes: int = 0
    max_pods: int = 1000
    kubelet_version: str = "v1.37.1"
    runtime_handlers: tuple[str, ...] = ()
    """OCI runtimes that a RuntimeClass can name; shown in the node's status."""
    oci_runtime: str = "0.1.0"
    """Version shown as the container runtime's."""
    os_image: str = "Linux"
    machine_id: str = ""
    system_uuid: str = ""
    time_scale: float = 1.0
    """Delays and periods of probes are multiplied by it; back-offs are given scaled already."""
    container_backoff: BackoffSettings = BackoffSettings()
    image_backoff: BackoffSettings = BackoffSettings()
    relist_interval_s: float = 180.0
    housekeeping_interval_s: float = 60.0
    """How often the sizes of logs and of limited volumes are looked at, while there are any."""
    eviction_thresholds: tuple[Threshold, ...] = ()
    """Below these pods are evicted, at once or after a grace period."""
    eviction_max_pod_grace_s: int = 0
    """Longest grace period of a pod that goes for a soft threshold; below 0: the pod's own."""
    eviction_transition_s: float = 300.0
    """How long the node's condition outlives the pressure."""
    images_dir: Path | None = None
    """The image store; ``None``: its disk is nobody's business."""
    image_gc_high_percent: int = 85
    image_gc_low_percent: int = 80
    log_max_size_bytes: int = 10 << 20
    log_max_files: int = 5
    pod_max_pids: int = 0
    """Processes and threads that a pod may have; 0: as many as there is room for."""
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    """Names, or beginnings followed by ``*``."""

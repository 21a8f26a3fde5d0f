"""What all verbs share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from podhost.aiokit.clock import Clock
from podhost.aiokit.tasks import Tasks
from podhost.cri.images import Image, Snapshotter
from podhost.cri.network import PodNetwork
from podhost.runtime.apparmor import AppArmor
from podhost.runtime.exit_monitor import ExitMonitor
from podhost.runtime.host_facts import HostFacts
from podhost.runtime.records import ContainerRecord
from podhost.runtime.registry import Registry
from podhost.runtime.seccomp import FilterCache
from podhost.runtime.selinux import Selinux
from podhost.runtime.settings import OciRuntime, RuntimePaths, RuntimeSettings

ImageLookup = Callable[[str], Image | None]


@dataclass(slots=True, kw_only=True)
class RuntimeContext:
    """Collaborators and state of one instance's runtime."""

    settings: RuntimeSettings
    paths: RuntimePaths
    snapshotter: Snapshotter
    find_image: ImageLookup
    network: PodNetwork
    clock: Clock
    registry: Registry
    filters: FilterCache
    monitor: ExitMonitor
    tasks: Tasks
    host: HostFacts
    apparmor: AppArmor
    selinux: Selinux | None
    exec_launcher: Executor
    """Starts the OCI runtime for commands in containers, out of sight of what is mounted for pods."""

    def runtime_of(self, record: ContainerRecord) -> OciRuntime:
        """The OCI runtime of a container's pod.  Raises NotFoundError, UnavailableError."""
        return self.settings.runtime(self.registry.sandbox(record.sandbox_id).record.config.runtime_handler)

"""The machine shuts down: containers get their stop signal and their grace while there is still time.

The kubelet does it for its pods, in their order and with their hooks; what is left after that is stopped here.
A daemon that is stopped alone leaves its containers running.  When all of the machine ends, nobody else would
stop them in order: systemd sends SIGTERM, which first processes of PID namespaces mostly ignore, and waits for
them for 90 seconds.  The pods stay in the store and run again after the next boot.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Protocol

from podhost.api.objects import read_pod_uid
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.errors import PodhostError
from podhost.linux import spawn

_log = logging.getLogger(__name__)

MAX_GRACE_S = 30.0
"""Whatever a pod's own period is: the unit's ``TimeoutStopSec`` has to be longer."""


class Containers(Protocol):
    """The part of the runtime that is needed."""

    def list_containers(self) -> list[ContainerStatus]: ...

    async def stop_container(self, container_id: ContainerId, grace_s: float) -> None: ...


async def is_machine_stopping(systemd_mark: Path = Path("/run/systemd/system")) -> bool:
    """Ask systemd, where it runs the machine.  Never raises."""
    if not await asyncio.to_thread(systemd_mark.is_dir):
        return False
    try:
        answer = await spawn.run(["systemctl", "is-system-running"], check=False, timeout_s=5)
    except (PodhostError, TimeoutError) as error:
        _log.warning("cannot ask systemd whether the machine stops: %s", error)
        return False
    return answer.stdout.strip() == b"stopping"


async def stop_containers(runtime: Containers, pods: list[dict[str, Any]]) -> None:
    """Stop what runs, all at once, each with its pod's grace period."""
    grace_s = {read_pod_uid(pod): compute_grace_s(pod) for pod in pods}
    running = [one for one in runtime.list_containers() if one.state is ContainerState.RUNNING]
    _log.info("the machine shuts down: stopping %d containers", len(running))
    await asyncio.gather(*(_stop(runtime, one, grace_s.get(one.pod_uid, MAX_GRACE_S)) for one in running))


def compute_grace_s(pod: dict[str, Any]) -> float:
    """The pod's own period, but never more than :data:`MAX_GRACE_S`."""
    wish = pod["spec"].get("terminationGracePeriodSeconds")
    return MAX_GRACE_S if wish is None else min(float(wish), MAX_GRACE_S)


async def _stop(runtime: Containers, container: ContainerStatus, grace_s: float) -> None:
    try:
        await runtime.stop_container(container.id, grace_s)
    except (PodhostError, OSError) as error:
        _log.warning("cannot stop container %s of %s: %s", container.name, container.pod_name, error)

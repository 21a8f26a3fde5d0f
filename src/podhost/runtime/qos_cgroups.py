"""The cgroups above those of pods, one a class of quality of service, as a kubelet lays them::

    /podhost/INSTANCE                                    in place of a node's kubepods
    /podhost/INSTANCE/monitors                           conmon
    /podhost/INSTANCE/podUID/CONTAINER                   Guaranteed pods
    /podhost/INSTANCE/burstable/podUID/CONTAINER
    /podhost/INSTANCE/besteffort/podUID/CONTAINER

What they are given is for the kubelet to say.
"""

from __future__ import annotations

import asyncio

from podhost.api.qos import QOS_CLASSES, QosClass
from podhost.cri.runtime import LinuxResources
from podhost.errors import PodhostError
from podhost.linux import cgroup
from podhost.runtime.cgroup_limits import build_class_limits
from podhost.runtime.context import RuntimeContext
from podhost.runtime.oci_runtime import remove_empty_cgroup
from podhost.runtime.settings import RuntimePaths


def create_qos_cgroups(paths: RuntimePaths) -> None:
    """Idempotent; blocking.  Raises OSError."""
    for qos_class in QOS_CLASSES:
        cgroup.create(paths.qos_cgroup(qos_class))


def remove_qos_cgroups(paths: RuntimePaths) -> None:
    """Those that no pod is in any more.  Blocking."""
    for qos_class in reversed(QOS_CLASSES):
        remove_empty_cgroup(paths.qos_cgroup(qos_class))


async def update_qos_resources(ctx: RuntimeContext, qos_class: QosClass, wanted: LinuxResources) -> None:
    """Raises PodhostError when the kernel refuses."""
    limits = build_class_limits(wanted, ctx.host)
    path = ctx.paths.qos_cgroup(qos_class)
    problems = await asyncio.to_thread(cgroup.set_limits, path, limits)
    if qos_class == "Guaranteed":
        # The one above only holds the instances together: what they weigh, it weighs.
        problems += await asyncio.to_thread(cgroup.set_limits, path.rpartition("/")[0], limits)
    if problems:
        raise PodhostError("; ".join(problems))

"""PodChannels, group podhost.dev: a kind that is observed, not stored; for everything that lists kinds.

Its names, verbs and table are those of any kind, so discovery, selectors and ``kubectl get`` treat it alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from podhost.api.columns import Column
from podhost.api.kind import Kind
from podhost.api.objects import Object

_COLUMNS = (
    Column("Name", format="name", description="Name of the pod."),
    Column("Containers", description="Running containers, and all."),
    Column("Ports", description="Who listens where."),
    Column("Channels", type="integer", description="Number of channels."),
    Column("Problems", description="What is wrong with them."),
    Column("Listeners", description="Container, protocol, address and port.", priority=1),
    Column("Links", description="Channels between containers, and with others.", priority=1),
)


def pod_channels_row(obj: Object, _now: datetime) -> list[Any]:
    containers = obj.get("containers") or ()
    running = sum(1 for container in containers if container.get("pid"))
    listeners = obj.get("listeners") or ()
    ports = dict.fromkeys(f"{one['port']}/{one['protocol'].upper()}" for one in listeners)
    problems = dict.fromkeys(problem["code"] for problem in obj.get("problems") or ())
    return [
        obj["metadata"]["name"],
        f"{running}/{len(containers)}",
        ",".join(ports) or "<none>",
        len(obj.get("channels") or ()),
        ",".join(problems) or "<none>",
        ", ".join(_listener(one) for one in listeners) or "<none>",
        ", ".join(_link(one) for one in obj.get("channels") or ()) or "<none>",
    ]


def _listener(one: Mapping[str, Any]) -> str:
    return f"{one.get('container') or '?'}={one['protocol']}:{one['address']}:{one['port']}"


def _link(channel: Mapping[str, Any]) -> str:
    places: Iterable[str] = dict.fromkeys(
        end.get("container") or end.get("peer") or "?" for end in channel.get("ends") or ()
    )
    return f"{channel['name']} ({' - '.join(places)})" if places else str(channel["name"])


POD_CHANNELS = Kind(
    kind="PodChannels",
    group="podhost.dev",
    version="v1alpha1",
    plural="podchannels",
    singular="podchannels",
    schema="dev.podhost.v1alpha1.PodChannels",
    short_names=("pch",),
    verbs=("get", "list", "watch"),
    columns=_COLUMNS,
    row=pod_channels_row,
)

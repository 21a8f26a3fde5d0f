"""What a pod requests as a whole (``k8s.io/component-helpers/resource``)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from podhost.api.quantity import parse_quantity

_Doc = Mapping[str, Any]


def sum_requests(spec: _Doc) -> dict[str, Fraction]:
    """Effective requests: those of the containers; the pod's own figures win; overhead comes on top."""
    running = sum_container_requests(spec)
    running |= {
        name: amount
        for name, amount in _requests(spec).items()
        if name in ("cpu", "memory") or name.startswith("hugepages-")
    }
    _add(running, {name: parse_quantity(value) for name, value in (spec.get("overhead") or {}).items()})
    return running


def sum_container_requests(spec: _Doc) -> dict[str, Fraction]:
    """Containers together with sidecars, or the largest moment of the init phase, which is more."""
    running: dict[str, Fraction] = {}
    for container in spec.get("containers") or []:
        _add(running, _requests(container))
    sidecars: dict[str, Fraction] = {}
    peak: dict[str, Fraction] = {}
    for container in spec.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            _add(sidecars, _requests(container))
            _raise(peak, sidecars)
        else:
            moment = dict(sidecars)
            _add(moment, _requests(container))
            _raise(peak, moment)
    _add(running, sidecars)
    _raise(running, peak)
    return running


def _requests(holder: _Doc) -> dict[str, Fraction]:
    """What does not parse is validation's affair."""
    found = {}
    for name, value in ((holder.get("resources") or {}).get("requests") or {}).items():
        try:
            found[name] = parse_quantity(value)
        except ValueError:
            continue
    return found


def _add(total: dict[str, Fraction], more: Mapping[str, Fraction]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Fraction(0)) + amount


def _raise(total: dict[str, Fraction], floor: Mapping[str, Fraction]) -> None:
    for name, amount in floor.items():
        total[name] = max(total.get(name, Fraction(0)), amount)

"""Eviction signals and thresholds: what the kubelet's flags mean, and which thresholds are met.  Pure.

After kubernetes 1.37 pkg/kubelet/eviction/helpers.go.  A threshold is *hard* when it has no grace period.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from podhost.api.quantity import canonical, format_quantity, parse_quantity, quantity_to_int
from podhost.kubelet.go_format import parse_duration, quote

MEMORY, ALLOCATABLE_MEMORY = "memory.available", "allocatableMemory.available"
NODE_DISK, NODE_INODES = "nodefs.available", "nodefs.inodesFree"
IMAGE_DISK, IMAGE_INODES = "imagefs.available", "imagefs.inodesFree"
CONTAINER_DISK, CONTAINER_INODES = "containerfs.available", "containerfs.inodesFree"
PIDS = "pid.available"

MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE = "MemoryPressure", "DiskPressure", "PIDPressure"
RESOURCE_MEMORY, RESOURCE_DISK, RESOURCE_INODES, RESOURCE_PIDS = "memory", "ephemeral-storage", "inodes", "pids"

RESOURCE_OF = {
    MEMORY: RESOURCE_MEMORY,
    ALLOCATABLE_MEMORY: RESOURCE_MEMORY,
    NODE_DISK: RESOURCE_DISK,
    IMAGE_DISK: RESOURCE_DISK,
    CONTAINER_DISK: RESOURCE_DISK,
    NODE_INODES: RESOURCE_INODES,
    IMAGE_INODES: RESOURCE_INODES,
    CONTAINER_INODES: RESOURCE_INODES,
    PIDS: RESOURCE_PIDS,
}
"""What is starved when a signal is low.  The order is that in which thresholds are looked after."""
CONDITION_OF = {
    signal: {RESOURCE_MEMORY: MEMORY_PRESSURE, RESOURCE_PIDS: PID_PRESSURE}.get(resource, DISK_PRESSURE)
    for signal, resource in RESOURCE_OF.items()
}
DEFAULT_EVICTION_HARD = (
    "memory.available<100Mi,nodefs.available<500Mi,nodefs.inodesFree<5%,imagefs.available<500Mi,imagefs.inodesFree<5%"
)
"""The kubelet's 10 and 15 % of the disk are for machines that do nothing else; a workstation's disk is often fuller."""
_ORDER = {signal: place for place, signal in enumerate(RESOURCE_OF)}


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity, or the part ``share`` of the capacity."""

    quantity: str = ""
    """In its canonical spelling, which messages repeat; empty: ``share`` is meant."""
    share: float = 0.0

    def compute(self, capacity: int) -> int:
        """Bytes, inodes or processes."""
        return quantity_to_int(self.quantity) if self.quantity else int(capacity * self.share)

    def format(self, capacity: int) -> str:
        """As the kubelet prints it."""
        return self.quantity or format_quantity(self.compute(capacity), "binary")


@dataclass(frozen=True, slots=True)
class Threshold:
    """``signal`` is low below ``value``; pods go when it has been for ``grace_s`` seconds."""

    signal: str
    value: Amount
    grace_s: float = 0.0
    min_reclaim: Amount | None = None
    """How much more than ``value`` there must be before it is over."""

    @property
    def is_hard(self) -> bool:
        return self.grace_s == 0


@dataclass(frozen=True, slots=True)
class Observation:
    """How much is left, and how much there is: bytes, inodes or processes."""

    available: int
    capacity: int


Observations = Mapping[str, Observation]
"""By signal."""


def parse_pairs(text: str, separator: str) -> dict[str, str]:
    """``signal<value,…`` or ``signal=value,…`` of a flag; the last of several wins.  Raises ValueError."""
    found = {}
    for item in filter(None, text.split(",")):
        name, middle, value = item.partition(separator)
        if not middle:
            raise ValueError(f"malformed pair, expect string{separator}string")
        found[name.strip()] = value.strip()
    return found


def build_thresholds(
    hard: Mapping[str, str],
    soft: Mapping[str, str] | None = None,
    grace: Mapping[str, str] | None = None,
    min_reclaim: Mapping[str, str] | None = None,
) -> tuple[Threshold, ...]:
    """The thresholds of the flags ``--eviction-hard``, ``-soft``, ``-soft-grace-period`` and ``-minimum-reclaim``.

    Those of ``containerfs`` are left out: writable layers are on nodefs, and its thresholds hold for them.  A copy of
    ``memory.available`` for ``allocatableMemory`` is not needed: pods may use all memory that the machine has.
    Raises ValueError in the kubelet's words.
    """
    found = list(_parse_statements(hard))
    soft_found = list(_parse_statements(soft or {}))
    periods = {signal: _parse_grace(signal, text) for signal, text in (grace or {}).items()}
    reclaims = {signal: _parse_reclaim(signal, text) for signal, text in (min_reclaim or {}).items()}
    for signal, _ in soft_found:
        if signal not in periods:
            raise ValueError(f"grace period must be specified for the soft eviction threshold {signal}")
    thresholds = [Threshold(signal, value, 0.0, reclaims.get(signal)) for signal, value in found]
    thresholds += [Threshold(signal, value, periods[signal], reclaims.get(signal)) for signal, value in soft_found]
    return tuple(each for each in thresholds if each.signal not in (CONTAINER_DISK, CONTAINER_INODES))


def _parse_statements(statements: Mapping[str, str]) -> Iterator[tuple[str, Amount]]:
    for signal, text in statements.items():
        _check_signal(signal)
        # As for the kubelet these two turn a threshold off.
        if text in ("0%", "100%"):
            continue
        if text.endswith("%"):
            share = _parse_percentage(text)
            if share < 0:
                raise ValueError(f"eviction percentage threshold {signal} must be >= 0%: {text}")
            if share > 1:
                raise ValueError(f"eviction percentage threshold {signal} must be <= 100%: {text}")
            yield signal, Amount(share=share)
        else:
            if parse_quantity(text) <= 0:
                raise ValueError(f"eviction threshold {signal} must be positive: {canonical(text)}")
            yield signal, Amount(canonical(text))


def _check_signal(signal: str) -> None:
    if signal not in RESOURCE_OF:
        raise ValueError(f"unsupported eviction signal {signal}")


def _parse_percentage(text: str) -> float:
    number = text.rstrip("%")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", number, re.ASCII):
        raise ValueError(f"strconv.ParseFloat: parsing {quote(number)}: invalid syntax")
    # The kubelet counts with 32 bits: 10 % of 1000Mi are 104857601 bytes, and its messages say so.
    try:
        return _to_float32(_to_float32(float(number)) / 100)
    except OverflowError:
        raise ValueError(f"strconv.ParseFloat: parsing {quote(number)}: value out of range") from None


def _to_float32(number: float) -> float:
    """Raises OverflowError."""
    found: float = struct.unpack("<f", struct.pack("<f", number))[0]
    return found


def _parse_grace(signal: str, text: str) -> float:
    _check_signal(signal)
    if text.startswith("-"):
        raise ValueError(f"invalid eviction grace period specified: {text}, must be a positive value")
    try:
        return parse_duration(text)
    except ValueError:
        problem = "missing unit in" if re.fullmatch(r"[\d.]+", text, re.ASCII) else "invalid"
        raise ValueError(f"time: {problem} duration {quote(text)}") from None


def _parse_reclaim(signal: str, text: str) -> Amount:
    _check_signal(signal)
    if text.endswith("%"):
        share = _parse_percentage(text)
        if share <= 0:
            raise ValueError(f"eviction percentage minimum reclaim {signal} must be positive: {text}")
        return Amount(share=share)
    if parse_quantity(text) < 0:
        raise ValueError(f"negative eviction minimum reclaim specified for {signal}")
    return Amount(canonical(text))


def find_met(
    thresholds: Iterable[Threshold], observed: Observations, *, with_reclaim: bool = False
) -> tuple[Threshold, ...]:
    """Those that are low now, memory first; ``with_reclaim``: also those with less than the minimum to reclaim."""
    return sort_thresholds(
        each
        for each in thresholds
        if (seen := observed.get(each.signal)) is not None
        and seen.available < _compute_floor(each, seen.capacity, with_reclaim=with_reclaim)
    )


def _compute_floor(threshold: Threshold, capacity: int, *, with_reclaim: bool) -> int:
    floor = threshold.value.compute(capacity)
    if with_reclaim and threshold.min_reclaim is not None:
        floor += threshold.min_reclaim.compute(capacity)
    return floor


def find_near(thresholds: Iterable[Threshold], observed: Observations) -> tuple[Threshold, ...]:
    """Those with less than twice the threshold left: worth a look more often."""
    return tuple(
        each
        for each in thresholds
        if (seen := observed.get(each.signal)) is not None and seen.available < 2 * each.value.compute(seen.capacity)
    )


def sort_thresholds(thresholds: Iterable[Threshold]) -> tuple[Threshold, ...]:
    """In the order in which they are looked after; hard ones before soft ones."""
    return tuple(sorted(thresholds, key=lambda each: (_ORDER[each.signal], each.grace_s)))


def format_available(signal: str, observed: Observation) -> str:
    """What is left, as the kubelet prints it."""
    is_size = RESOURCE_OF[signal] in (RESOURCE_MEMORY, RESOURCE_DISK)
    return format_quantity(observed.available, "binary" if is_size else "decimal")

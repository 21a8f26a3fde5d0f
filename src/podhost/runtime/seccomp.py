"""Seccomp profiles: Docker's default as data, resolved for a container, and compiled once.

A profile's JSON costs the OCI runtime 14 ms a container, because libseccomp compiles it each time.  crun leaves
the compiled filter in its state directory and takes it back as an annotation.  The cache key covers all that the
filter depends on: the resolved profile (and with it capabilities and kernel), crun's binary, the architecture.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from podhost.linux.fs import write_atomic

BPF_ANNOTATION = "run.oci.seccomp_bpf_data"
_EPERM = 1
_ENOSYS = 38
_MAX_BPF_BYTES = 4096 * 8  # BPF_MAXINSNS instructions of 8 bytes


@cache
def default_profile() -> Mapping[str, Any]:
    """Docker's default profile, in this package's own compact form."""
    text = Path(__file__).with_name("seccomp_default.json").read_bytes()
    profile: Mapping[str, Any] = json.loads(text)
    return profile


def resolve_default_profile(capabilities: Iterable[str], architecture: str, kernel: tuple[int, int]) -> dict[str, Any]:
    """The default profile as ``linux.seccomp`` of an OCI spec.

    ``architecture`` is Go's name (``amd64``).  What the profile knows and does not grant fails with EPERM; what it
    does not know, being younger, with ENOSYS, so that C libraries fall back (clone3).
    """
    profile = default_profile()
    granted = frozenset(capabilities)
    rules = [rule for rule in profile["rules"] if _applies(rule, granted, architecture, kernel)]
    decided = {name for rule in rules for name in rule["names"]}
    known = {name for rule in profile["rules"] for name in rule["names"]} | set(profile["known_refused"])
    syscalls = [_rule_to_oci(rule) for rule in rules]
    refused = sorted(known - decided)
    if refused:
        syscalls.append({"names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": list(profile["architectures"].get(architecture, ())),
        "syscalls": syscalls,
    }


def resolve_custom_profile(
    profile: Mapping[str, Any], capabilities: Iterable[str], architecture: str, kernel: tuple[int, int]
) -> dict[str, Any]:
    """A profile file in Docker's or OCI's form, as ``linux.seccomp`` of an OCI spec."""
    granted = frozenset(capabilities)
    result = {
        key: profile[key]
        for key in ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")
        if key in profile
    }
    result["architectures"] = _custom_architectures(profile, architecture)
    result["syscalls"] = [
        {key: rule[key] for key in ("names", "action", "errnoRet", "args") if rule.get(key) is not None}
        for rule in map(_flatten_docker_rule, profile.get("syscalls") or ())
        if _applies(rule, granted, architecture, kernel)
    ]
    return result


def compute_cache_key(resolved: Mapping[str, Any], runtime_identity: str, architecture: str) -> str:
    """Name of the compiled filter."""
    text = msgspec.json.encode([resolved, runtime_identity, architecture], order="deterministic")
    return hashlib.sha256(text).hexdigest()


class FilterCache:
    """Compiled filters by key, on disk and in memory (as annotation values)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._annotations: dict[str, str] = {}

    def find(self, key: str) -> str | None:
        """The annotation's value, or ``None`` when the filter must be compiled.  Blocking at first use only."""
        found = self._annotations.get(key)
        if found is None:
            found = self._load(key)
            if found is not None:
                self._annotations[key] = found
        return found

    def learn(self, key: str, compiled: Path) -> None:
        """Keep what crun compiled.  A missing or odd file is ignored: the next container compiles again."""
        try:
            data = compiled.read_bytes()
        except OSError:
            return
        if _is_filter(data):
            write_atomic(self._directory / f"{key}.bpf", data)
            self._annotations[key] = base64.b64encode(data).decode("ascii")

    def _load(self, key: str) -> str | None:
        try:
            data = (self._directory / f"{key}.bpf").read_bytes()
        except OSError:
            return None
        return base64.b64encode(data).decode("ascii") if _is_filter(data) else None


def _is_filter(data: bytes) -> bool:
    return 0 < len(data) <= _MAX_BPF_BYTES and len(data) % 8 == 0


def _applies(rule: Mapping[str, Any], capabilities: frozenset[str], architecture: str, kernel: tuple[int, int]) -> bool:
    if rule.get("arches") and architecture not in rule["arches"]:
        return False
    if architecture in rule.get("not_arches", ()):
        return False
    if not capabilities.issuperset(rule.get("caps", ())):
        return False
    if not capabilities.isdisjoint(rule.get("not_caps", ())):
        return False
    minimum = rule.get("min_kernel")
    return minimum is None or kernel >= tuple(int(part) for part in minimum.split(".")[:2])


def _rule_to_oci(rule: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"names": rule["names"], "action": rule.get("action", "SCMP_ACT_ALLOW")}
    if "errno" in rule:
        result["errnoRet"] = rule["errno"]
    if "args" in rule:
        result["args"] = rule["args"]
    return result


def _flatten_docker_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    flat = dict(rule)
    if "names" not in flat and "name" in flat:
        flat["names"] = [flat["name"]]
    flat.update({key: includes[key] for key in ("arches", "caps") if includes.get(key)})
    flat.update({f"not_{key}": excludes[key] for key in ("arches", "caps") if excludes.get(key)})
    if includes.get("minKernel"):
        flat["min_kernel"] = includes["minKernel"]
    return flat


def _custom_architectures(profile: Mapping[str, Any], architecture: str) -> list[str]:
    if profile.get("architectures"):
        return list(profile["architectures"])
    native = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}.get(architecture)
    for entry in profile.get("archMap") or ():
        if entry.get("architecture") == native:
            return [native, *(entry.get("subArchitectures") or ())]
    return []

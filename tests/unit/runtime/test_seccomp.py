"""Seccomp profiles."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from podhost.runtime.capabilities import DEFAULT_CAPABILITIES
from podhost.runtime.seccomp import FilterCache, compute_cache_key, resolve_custom_profile, resolve_default_profile


def resolve(*extra: str, architecture: str = "amd64", kernel: tuple[int, int] = (6, 1)) -> dict[str, Any]:
    return resolve_default_profile((*DEFAULT_CAPABILITIES, *extra), architecture, kernel)


def answers(profile: dict[str, Any], name: str) -> list[tuple[str, int | None]]:
    rules = [rule for rule in profile["syscalls"] if name in rule["names"]]
    return [(rule["action"], rule.get("errnoRet")) for rule in rules]


def test_unknown_calls_get_enosys_and_known_ones_eperm() -> None:
    profile = resolve()
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert answers(profile, "some_call_of_tomorrow") == []
    assert answers(profile, "mount") == [("SCMP_ACT_ERRNO", 1)]
    assert answers(profile, "keyctl") == [("SCMP_ACT_ERRNO", 1)]
    assert answers(profile, "clone3") == [("SCMP_ACT_ERRNO", 38)]
    assert answers(profile, "read") == [("SCMP_ACT_ALLOW", None)]


def test_capabilities_open_what_belongs_to_them() -> None:
    profile = resolve("CAP_SYS_ADMIN")
    assert answers(profile, "mount") == [("SCMP_ACT_ALLOW", None)]
    assert answers(profile, "clone3") == [("SCMP_ACT_ALLOW", None)]
    assert answers(profile, "clone") == [("SCMP_ACT_ALLOW", None)]


def test_architecture_and_kernel_select_rules() -> None:
    assert answers(resolve(), "arch_prctl") == [("SCMP_ACT_ALLOW", None)]
    assert answers(resolve(architecture="arm64"), "arch_prctl") == [("SCMP_ACT_ERRNO", 1)]
    assert answers(resolve(kernel=(4, 4)), "ptrace") == [("SCMP_ACT_ERRNO", 1)]
    assert resolve(architecture="arm64")["architectures"][0] == "SCMP_ARCH_AARCH64"


def test_no_call_is_both_allowed_and_refused() -> None:
    profile = resolve()
    allowed = {n for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for n in rule["names"]}
    refused = {n for rule in profile["syscalls"] if rule.get("errnoRet") == 1 for n in rule["names"]}
    assert allowed.isdisjoint(refused)


def test_dockers_profile_form_is_understood() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"name": "acct", "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_BPF"]}},
        ],
    }
    resolved = resolve_custom_profile(profile, (), "amd64", (6, 1))
    assert resolved["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert [rule["names"] for rule in resolved["syscalls"]] == [["read"], ["acct"]]


def test_key_changes_with_all_that_the_filter_depends_on() -> None:
    keys = {
        compute_cache_key(resolve(), "crun-1", "amd64"),
        compute_cache_key(resolve(), "crun-2", "amd64"),
        compute_cache_key(resolve(), "crun-1", "arm64"),
        compute_cache_key(resolve("CAP_BPF"), "crun-1", "amd64"),
    }
    assert len(keys) == 4
    assert compute_cache_key(resolve(), "crun-1", "amd64") in keys


def test_filters_are_kept_and_odd_ones_ignored(tmp_path: Path) -> None:
    compiled = tmp_path / "seccomp.bpf"
    compiled.write_bytes(b"12345678")
    FilterCache(tmp_path).learn("good", compiled)
    compiled.write_bytes(b"1234567")
    cache = FilterCache(tmp_path)
    cache.learn("odd", compiled)
    cache.learn("absent", tmp_path / "nothing")
    assert cache.find("good") == base64.b64encode(b"12345678").decode()
    assert cache.find("odd") is None
    assert cache.find("absent") is None

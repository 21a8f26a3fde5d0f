"""The machine's forwarding switch is shared by instances."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.network import forwarding
from podhost.network.forwarding import enable_forwarding, release_forwarding


@pytest.fixture
def sysctl(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = {"net/ipv4/ip_forward": "0"}
    monkeypatch.setattr(forwarding, "read_sysctl", values.get)
    monkeypatch.setattr(forwarding, "write_sysctl", values.__setitem__)
    return values


@pytest.mark.parametrize("before", ["0", "1"])
def test_last_instance_restores_what_the_first_found(tmp_path: Path, sysctl: dict[str, str], before: str) -> None:
    sysctl["net/ipv4/ip_forward"] = before
    shared = tmp_path / "shared"
    for holder in ("ph0", "ph1", "ph0"):
        enable_forwarding(shared, holder)
    assert sysctl["net/ipv4/ip_forward"] == "1"
    release_forwarding(shared, "ph0")
    release_forwarding(shared, "ph0")
    assert sysctl["net/ipv4/ip_forward"] == "1"
    release_forwarding(shared, "ph1")
    assert sysctl["net/ipv4/ip_forward"] == before
    assert not shared.exists()


def test_forwarding_stays_on_while_somebody_else_needs_it(tmp_path: Path, sysctl: dict[str, str]) -> None:
    enable_forwarding(tmp_path / "shared", "ph0")
    release_forwarding(tmp_path / "shared", "ph0", needed_elsewhere=True)
    assert sysctl["net/ipv4/ip_forward"] == "1"


def test_broken_record_leaves_the_switch_alone(tmp_path: Path, sysctl: dict[str, str]) -> None:
    enable_forwarding(tmp_path / "shared", "ph0")
    (tmp_path / "shared" / "ip_forward.json").write_text("{")
    release_forwarding(tmp_path / "shared", "ph0")
    assert sysctl["net/ipv4/ip_forward"] == "1"

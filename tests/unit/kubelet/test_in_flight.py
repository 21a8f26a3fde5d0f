"""Effects under way."""

from __future__ import annotations

import asyncio

import pytest

from podhost.kubelet.in_flight import InFlight


async def fail() -> None:
    raise RuntimeError("nobody thought of this")


async def succeed() -> None:
    await asyncio.sleep(0.1)


@pytest.mark.looptime
async def test_the_end_of_an_effect_asks_for_a_pass() -> None:
    passes: list[str] = []
    effects = InFlight(lambda: passes.append("pass"))
    await effects.spawn("x", succeed())
    assert "x" in effects or passes
    await asyncio.sleep(0)
    assert "x" not in effects
    assert len(passes) == 1


@pytest.mark.looptime
async def test_an_unexpected_failure_is_not_repeated_at_once() -> None:
    passes: list[str] = []
    effects = InFlight(lambda: passes.append("pass"))
    with pytest.raises(RuntimeError):
        await effects.spawn("x", fail())
    await asyncio.sleep(5)
    assert "x" in effects
    assert passes == []
    await asyncio.sleep(5.1)
    assert "x" not in effects
    assert len(passes) == 1

"""A kubelet's settings as it tells them."""

from __future__ import annotations

from pathlib import Path

from podhost.kubelet.configuration import build_configuration
from podhost.kubelet.eviction_thresholds import DEFAULT_EVICTION_HARD, build_thresholds, parse_pairs
from podhost.kubelet.settings import KubeletSettings


def test_thresholds_are_spelled_as_they_were_given() -> None:
    hard = parse_pairs(DEFAULT_EVICTION_HARD, "<")
    soft, grace, reclaim = {"memory.available": "1536Mi"}, {"memory.available": "1m30s"}, {"nodefs.available": "2.5%"}
    settings = KubeletSettings(
        node_name="n",
        log_dir=Path("/l"),
        state_dir=Path("/s"),
        eviction_thresholds=build_thresholds(hard, soft, grace, reclaim),
    )
    found = build_configuration(settings)
    assert found["evictionHard"] == hard
    assert found["evictionSoft"] == soft
    assert found["evictionSoftGracePeriod"] == grace
    assert found["evictionMinimumReclaim"] == reclaim
    assert found["evictionPressureTransitionPeriod"] == "5m0s"
    assert (found["containerLogMaxSize"], found["podPidsLimit"]) == ("10Mi", -1)
    assert "staticPodPath" not in found

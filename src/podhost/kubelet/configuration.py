"""``/configz`` of a kubelet: its settings as a KubeletConfiguration.  Pure.

Only fields that mean here what they mean there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podhost.api.quantity import format_quantity
from podhost.kubelet.eviction_thresholds import Amount, Threshold
from podhost.kubelet.go_format import format_duration
from podhost.kubelet.image_gc import MIN_AGE_S
from podhost.kubelet.settings import KubeletSettings

Document = dict[str, Any]


def build_configuration(settings: KubeletSettings) -> Document:
    """As ``kubelet.config.k8s.io/v1beta1`` spells it."""
    found = {
        **_build_eviction(settings),
        "allowedUnsafeSysctls": list(settings.allowed_unsafe_sysctls),
        "clusterDNS": list(settings.cluster_dns),
        "clusterDomain": settings.cluster_domain,
        "containerLogMaxFiles": settings.log_max_files,
        "containerLogMaxSize": format_quantity(settings.log_max_size_bytes, "binary"),
        "containerLogMonitorInterval": format_duration(settings.housekeeping_interval_s),
        "imageGCHighThresholdPercent": settings.image_gc_high_percent,
        "imageGCLowThresholdPercent": settings.image_gc_low_percent,
        "imageMinimumGCAge": format_duration(MIN_AGE_S),
        "localStorageCapacityIsolation": True,
        "maxPods": settings.max_pods,
        "podPidsLimit": settings.pod_max_pids or -1,
        "resolvConf": str(settings.resolv_conf),
        "seccompDefault": True,
        "staticPodPath": str(settings.static_pod_dir or ""),
    }
    return {name: value for name, value in sorted(found.items()) if value not in ("", [], {})}


def _build_eviction(settings: KubeletSettings) -> Document:
    hard = [each for each in settings.eviction_thresholds if each.is_hard]
    soft = [each for each in settings.eviction_thresholds if not each.is_hard]

    def by_signal(thresholds: list[Threshold], show: Callable[[Threshold], str]) -> dict[str, str]:
        return {each.signal: show(each) for each in thresholds}

    reclaims = {
        each.signal: _format_amount(each.min_reclaim)
        for each in settings.eviction_thresholds
        if each.min_reclaim is not None
    }
    return {
        "evictionHard": by_signal(hard, lambda each: _format_amount(each.value)),
        "evictionMaxPodGracePeriod": settings.eviction_max_pod_grace_s,
        "evictionMinimumReclaim": reclaims,
        "evictionPressureTransitionPeriod": format_duration(settings.eviction_transition_s),
        "evictionSoft": by_signal(soft, lambda each: _format_amount(each.value)),
        "evictionSoftGracePeriod": by_signal(soft, lambda each: format_duration(each.grace_s)),
    }


def _format_amount(amount: Amount) -> str:
    return amount.quantity or f"{amount.share * 100:g}%"

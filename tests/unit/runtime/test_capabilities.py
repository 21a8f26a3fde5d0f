"""Capabilities of containers."""

from __future__ import annotations

import pytest

from podhost.runtime.capabilities import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    compute_capabilities,
    parse_capability_mask,
)

EVERYTHING = frozenset(ALL_CAPABILITIES)
DEFAULT = set(DEFAULT_CAPABILITIES)


@pytest.mark.parametrize(
    ("add", "drop", "privileged", "wanted"),
    [
        ((), (), False, DEFAULT),
        (("NET_ADMIN",), (), False, DEFAULT | {"CAP_NET_ADMIN"}),
        ((), ("CAP_CHOWN",), False, DEFAULT - {"CAP_CHOWN"}),
        ((), ("ALL",), False, set()),
        (("NET_BIND_SERVICE",), ("ALL",), False, {"CAP_NET_BIND_SERVICE"}),
        (("ALL",), (), False, EVERYTHING),
        (("ALL",), ("SYS_ADMIN",), False, EVERYTHING - {"CAP_SYS_ADMIN"}),
        ((), ("ALL",), True, EVERYTHING),
    ],
)
def test_set_is_computed_as_in_containerd(
    add: tuple[str, ...], drop: tuple[str, ...], privileged: bool, wanted: set[str]
) -> None:
    assert set(compute_capabilities(add, drop, privileged=privileged, available=EVERYTHING)) == wanted


def test_what_podhost_lacks_is_not_given() -> None:
    available = EVERYTHING - {"CAP_SYS_RESOURCE"}
    assert set(compute_capabilities((), (), privileged=True, available=available)) == available


def test_mask_is_read_as_the_kernel_prints_it() -> None:
    assert parse_capability_mask("00000000a80425fb") == DEFAULT

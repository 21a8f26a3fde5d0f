"""Which mounts are taken out of the sight of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.linux.bare_mounts import HiddenMounts, compute_hidden

ROOTS = HiddenMounts([Path("/data/one"), Path("/run/one")], [Path("/run/one/programs/crun/crun"), Path("/run/one/oci")])


@pytest.mark.parametrize(
    ("mounted", "taken_out"),
    [
        ("/data/one/pods/u/volume", True),
        ("/run/one/sandboxes/s/shm", True),
        ("/run/one/programs/crun/crun", False),
        ("/run/one/programs", False),
        ("/data/one", False),
        ("/data", False),
        ("/data/other/pods/u/volume", False),
        ("/proc", False),
    ],
)
def test_mounts_for_pods_are_taken_out_and_what_runtimes_lie_on_stays(mounted: str, taken_out: bool) -> None:
    assert compute_hidden([Path(mounted)], ROOTS) == ([Path(mounted)] if taken_out else [])


def test_what_lies_on_another_mount_is_taken_out_before_it() -> None:
    points = [Path("/data/one/a"), Path("/data/one/a/b"), Path("/data/one/a")]
    assert compute_hidden(points, ROOTS) == points[::-1]

"""Users and groups of an image."""

from __future__ import annotations

import pytest

from podhost.cri.runtime import ContainerStartError
from podhost.runtime.users import ResolvedUser, compute_user, parse_group, parse_passwd

PASSWD = parse_passwd("root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:101:102:Web:/srv:/bin/sh\nshort:x:7:8\n")
GROUPS = parse_group("root:x:0:\nweb:x:102:\nextra:x:200:web,other\nbad:x:y:\nnoment:x:9\n")


@pytest.mark.parametrize(
    ("image_user", "run_as_user", "run_as_group", "supplemental", "wanted"),
    [
        ("", None, None, (), ResolvedUser(0, 0, (0,), "/root")),
        ("web", None, None, (), ResolvedUser(101, 102, (102, 200), "/srv")),
        ("101", None, None, (), ResolvedUser(101, 102, (102, 200), "/srv")),
        ("web:extra", None, None, (), ResolvedUser(101, 200, (200,), "/srv")),
        ("1234", None, None, (), ResolvedUser(1234, 0, (0,), "/")),
        ("1234:55", None, None, (), ResolvedUser(1234, 55, (55,), "/")),
        ("web:extra", 0, None, (), ResolvedUser(0, 0, (0,), "/root")),
        ("web", None, 9, (), ResolvedUser(101, 9, (9, 200), "/srv")),
        ("", 101, 5, (300, 200), ResolvedUser(101, 5, (5, 200, 300), "/srv")),
        ("short", None, None, (), ResolvedUser(7, 8, (8,), "/")),
    ],
)
def test_user_is_resolved_as_containerd_does(
    image_user: str,
    run_as_user: int | None,
    run_as_group: int | None,
    supplemental: tuple[int, ...],
    wanted: ResolvedUser,
) -> None:
    assert compute_user(image_user, run_as_user, run_as_group, supplemental, PASSWD, GROUPS) == wanted


@pytest.mark.parametrize("user", ["nobody", "web:nogroup"])
def test_unknown_name_is_refused(user: str) -> None:
    with pytest.raises(ContainerStartError, match="unable to find"):
        compute_user(user, None, None, (), PASSWD, GROUPS)


def test_strict_leaves_the_groups_of_the_image_out() -> None:
    strict = compute_user("web", None, None, (300,), PASSWD, GROUPS, merge=False)
    assert strict == ResolvedUser(101, 102, (102, 300), "/srv")

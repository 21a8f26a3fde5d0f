"""Which container is meant."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.api.errors import ApiError
from podhost.apiserver.pod_containers import choose_container


def pod(*containers: str, **others: list[str]) -> dict[str, Any]:
    spec = {group: [{"name": name} for name in names] for group, names in others.items()}
    return {"metadata": {"name": "mc1"}, "spec": {"containers": [{"name": n} for n in containers], **spec}}


def test_only_container_is_the_default() -> None:
    assert choose_container(pod("a", initContainers=["i"]), "") == "a"


@pytest.mark.parametrize("name", ["a", "i", "e"])
def test_every_kind_of_container_can_be_named(name: str) -> None:
    assert choose_container(pod("a", "b", initContainers=["i"], ephemeralContainers=["e"]), name) == name


def test_several_need_a_choice() -> None:
    with pytest.raises(ApiError) as caught:
        choose_container(pod("1st", "2nd"), "")
    assert str(caught.value) == "a container name must be specified for pod mc1, choose one of: [1st 2nd]"
    with pytest.raises(ApiError, match=r"choose one of: \[i 1st 2nd e\]"):
        choose_container(pod("1st", "2nd", initContainers=["i"], ephemeralContainers=["e"]), "")


def test_unknown_name() -> None:
    with pytest.raises(ApiError) as caught:
        choose_container(pod("a"), "x")
    assert str(caught.value) == "container x is not valid for pod mc1"

"""A next step can be pasted: it goes to the server that the command was about."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from podhost.cli.hints import complete_hint, remember_flags


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PODHOST_INSTANCE", "mine")
    yield
    remember_flags(argparse.Namespace())
    monkeypatch.delenv("PODHOST_INSTANCE")
    remember_flags(argparse.Namespace())


def remember(**flags: str) -> None:
    chosen = {"instance": "mine", "context": None, "kubeconfig": None, "namespace": None, **flags}
    remember_flags(argparse.Namespace(**chosen))


@pytest.mark.parametrize(
    ("flags", "text", "completed"),
    [
        ({}, "see: podhost logs web", "see: podhost logs web"),
        (
            {"instance": "two"},
            "podhost down a.yaml, then podhost up",
            "podhost --instance two down a.yaml, then podhost --instance two up",
        ),
        ({"instance": "two"}, "sudo podhost --instance two serve", "sudo podhost --instance two serve"),
        ({"context": "prod", "namespace": "shop"}, "podhost logs web", "podhost --context prod -n shop logs web"),
        ({"namespace": "shop"}, "podhost ps -n other", "podhost ps -n other"),
        ({"namespace": "shop"}, "see all: podhost ps -A", "see all: podhost ps -A"),
        ({"context": "my prod"}, "podhost ps", "podhost --context 'my prod' ps"),
        ({"instance": "two"}, "podhost doctor; podhost shows", "podhost --instance two doctor; podhost shows"),
        ({"context": "prod", "namespace": "shop"}, "podhost doctor", "podhost doctor"),
    ],
)
def test_hint_has_the_flags_of_the_command(flags: dict[str, str], text: str, completed: str) -> None:
    remember(**flags)
    assert complete_hint(text) == completed

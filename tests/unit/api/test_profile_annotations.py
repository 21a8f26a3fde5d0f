"""Annotations from before the fields: those of AppArmor become fields, the others are said to do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from podhost.api import kinds
from podhost.api.profile_annotations import APPARMOR_PREFIX, read_apparmor_annotation

MakePod = Callable[..., dict[str, Any]]
KEY = APPARMOR_PREFIX + "main"
DEPRECATED = f'metadata.annotations[{KEY}]: deprecated since v1.30; use the "appArmorProfile" field instead'


def _pod(make_pod: MakePod, annotations: dict[str, str], own: Any = None, shared: Any = None) -> dict[str, Any]:
    pod = make_pod()
    pod["metadata"]["annotations"] = annotations
    pod["spec"]["containers"][0]["name"] = "main"
    if own:
        pod["spec"]["containers"][0]["securityContext"] = {"appArmorProfile": own}
    if shared:
        pod["spec"]["securityContext"] = {"appArmorProfile": shared}
    return pod


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("unconfined", {"type": "Unconfined"}),
        ("runtime/default", {"type": "RuntimeDefault"}),
        ("localhost/mine", {"type": "Localhost", "localhostProfile": "mine"}),
        ("localhost/", None),
        ("localhost/ mine", None),
        ("mine", None),
        ("", None),
    ],
)
def test_an_annotation_stands_for_a_field(value: str, field: dict[str, str] | None) -> None:
    assert read_apparmor_annotation(value) == field


_MINE = {"type": "Localhost", "localhostProfile": "mine"}


@pytest.mark.parametrize(
    ("value", "own", "shared", "becomes", "warned"),
    [
        ("localhost/mine", None, None, _MINE, True),
        ("localhost/mine", _MINE, None, _MINE, False),
        ("localhost/mine", None, _MINE, None, False),
        ("unconfined", None, _MINE, {"type": "Unconfined"}, True),
        ("", None, None, None, True),
    ],
)
def test_a_container_without_the_field_takes_its_annotation(
    make_pod: MakePod, value: str, own: Any, shared: Any, becomes: Any, warned: bool
) -> None:
    pod = _pod(make_pod, {KEY: value}, own, shared)
    assert kinds.POD.warnings_as_written(pod) == ([DEPRECATED] if warned else [])
    kinds.POD.prepare_create(pod)
    context = pod["spec"]["containers"][0].get("securityContext") or {}
    assert context.get("appArmorProfile") == becomes


def _errors(pod: dict[str, Any]) -> list[str]:
    kinds.POD.default(pod)
    return [error.message for error in kinds.POD.validate_create(pod)]


@pytest.mark.parametrize(
    ("annotations", "own", "message"),
    [
        ({KEY: "unconfined"}, {"type": "Unconfined"}, None),
        (
            {KEY: "unconfined"},
            {"type": "RuntimeDefault"},
            "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: "
            "apparmor type in annotation and field must match",
        ),
        (
            {KEY: "localhost/other"},
            _MINE,
            "spec.containers[0].securityContext.appArmorProfile.localhostProfile: Forbidden: "
            "apparmor profile in annotation and field must match",
        ),
        (
            {APPARMOR_PREFIX + "nobody": "unconfined"},
            None,
            f'metadata.annotations[{APPARMOR_PREFIX}nobody]: Invalid value: "nobody": container not found',
        ),
        (
            {KEY: "mine"},
            None,
            f'metadata.annotations[{KEY}]: Invalid value: "mine": invalid AppArmor profile name: "mine"',
        ),
        (
            {},
            {"type": "Localhost", "localhostProfile": " mine"},
            "spec.containers[0].securityContext.appArmorProfile.localhostProfile: "
            'Invalid value: " mine": must not be padded with whitespace',
        ),
        (
            {},
            {"type": "Localhost"},
            "spec.containers[0].securityContext.appArmorProfile.localhostProfile: "
            "Required value: must be set when AppArmor type is Localhost",
        ),
        (
            {},
            {"type": "Localhost", "localhostProfile": "m" * 4096},
            "spec.containers[0].securityContext.appArmorProfile.localhostProfile: "
            "Too long: may not be more than 4095 bytes",
        ),
        (
            {},
            {"type": "Unconfined", "localhostProfile": "mine"},
            "spec.containers[0].securityContext.appArmorProfile.localhostProfile: "
            'Invalid value: "mine": can only be set when AppArmor type is Localhost',
        ),
        (
            {"seccomp.security.alpha.kubernetes.io/pod": "docker"},
            None,
            "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: "
            'Invalid value: "docker": must be a valid seccomp profile',
        ),
        (
            {"container.seccomp.security.alpha.kubernetes.io/main": "localhost/../../etc"},
            None,
            "metadata.annotations.container.seccomp.security.alpha.kubernetes.io/main: "
            "Invalid value: \"../../etc\": must not contain '..'",
        ),
    ],
)
def test_annotations_and_fields_are_checked_in_kubernetes_words(
    make_pod: MakePod, annotations: dict[str, str], own: Any, message: str | None
) -> None:
    assert _errors(_pod(make_pod, annotations, own)) == ([message] if message else [])


def test_annotations_that_do_nothing_are_warned_about(make_pod: MakePod) -> None:
    pod = _pod(
        make_pod,
        {
            "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
            "container.seccomp.security.alpha.kubernetes.io/main": "unconfined",
            "security.alpha.kubernetes.io/sysctls": "a=b",
        },
    )
    text = 'non-functional in v1.27+; use the "seccompProfile" field instead'
    assert kinds.POD.warnings(pod) == [
        "metadata.annotations[security.alpha.kubernetes.io/sysctls]: non-functional in v1.11+; "
        'use the "sysctls" field instead',
        f"metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: {text}",
        f"metadata.annotations[container.seccomp.security.alpha.kubernetes.io/main]: {text}",
    ]
    pod["spec"]["securityContext"] = {"seccompProfile": {"type": "Unconfined"}}
    pod["spec"]["containers"][0]["securityContext"] = {"seccompProfile": {"type": "Unconfined"}}
    assert len(kinds.POD.warnings(pod)) == 1


def test_a_host_without_apparmor_is_told_of_where_a_profile_was_asked_for(make_pod: MakePod) -> None:
    pod = _pod(make_pod, {}, {"type": "RuntimeDefault"}, _MINE)
    text = "AppArmor is not enabled on the host; containers run without the profile"
    assert kinds.POD.host_warnings(pod, {"AppArmor"}) == [
        f"spec.securityContext.appArmorProfile: {text}",
        f"spec.containers[0].securityContext.appArmorProfile: {text}",
    ]
    assert kinds.POD.host_warnings(pod, frozenset()) == []
    assert kinds.POD.host_warnings(_pod(make_pod, {}, {"type": "Unconfined"}), {"AppArmor"}) == []

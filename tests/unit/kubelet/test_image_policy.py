from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from harness.cri_fakes import FakeImages
from podhost.cri.images import ImagePullError
from podhost.kubelet.go_format import format_duration
from podhost.kubelet.image_policy import (
    POLICY_DEFAULTED_ANNOTATION,
    build_auths,
    compute_image_decision,
    explain_pull_error,
    format_pulled,
    is_policy_defaulted,
)

PRESENT = FakeImages().add("nginx")
LOCAL = FakeImages().add("nginx", local_name=True)


@pytest.mark.parametrize(
    ("policy", "present", "defaulted", "action", "reason"),
    [
        ("IfNotPresent", None, False, "pull", ""),
        ("IfNotPresent", PRESENT, False, "use", ""),
        ("Always", None, True, "pull", ""),
        ("Always", PRESENT, True, "pull", ""),
        ("Always", LOCAL, True, "use", ""),
        ("Always", LOCAL, False, "pull", ""),
        ("Never", PRESENT, False, "use", ""),
        ("Never", None, False, "fail", "ErrImageNeverPull"),
    ],
)
def test_policy_decides(policy: str, present: Any, defaulted: bool, action: str, reason: str) -> None:
    decision = compute_image_decision("nginx", policy, present, policy_defaulted=defaulted)
    assert (decision.action, decision.reason) == (action, reason)


def test_an_image_that_is_there_is_reported_in_the_kubelets_words() -> None:
    decision = compute_image_decision("nginx:1", "IfNotPresent", PRESENT, policy_defaulted=True)
    assert decision.message == 'Container image "nginx:1" already present on machine and can be accessed by the pod'


def _applied(**container: Any) -> dict[str, str]:
    document = {"spec": {"containers": [{"name": "main", **container}]}}
    return {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(document)}


@pytest.mark.parametrize(
    ("annotations", "image", "expected"),
    [
        ({POLICY_DEFAULTED_ANNOTATION: "a,main"}, "x:1", True),
        ({POLICY_DEFAULTED_ANNOTATION: "a"}, "x", False),
        (_applied(image="x"), "x", True),
        (_applied(image="x", imagePullPolicy="Always"), "x", False),
        ({}, "x:latest", True),
        ({}, "x:1", False),
        ({"kubectl.kubernetes.io/last-applied-configuration": "{"}, "x:1", False),
    ],
)
def test_whether_the_user_left_the_policy_out(annotations: dict[str, str], image: str, expected: bool) -> None:
    assert is_policy_defaulted(annotations, "main", image) is expected


def _secret(auths: dict[str, Any], *, old: bool = False) -> dict[str, Any]:
    if old:
        return {"data": {".dockercfg": base64.b64encode(json.dumps(auths).encode()).decode()}}
    text = json.dumps({"auths": auths}).encode()
    return {"data": {".dockerconfigjson": base64.b64encode(text).decode()}}


USER = {"username": "u", "password": "p"}
ENCODED = {"auth": base64.b64encode(b"u:p:q").decode()}


@pytest.mark.parametrize(
    ("image", "secret", "users"),
    [
        ("nginx", _secret({"https://index.docker.io/v1/": USER}), ["u/p"]),
        ("docker.io/me/x:1", _secret({"docker.io": ENCODED}), ["u/p:q"]),
        ("reg:5000/x", _secret({"reg:5000": USER}), ["u/p"]),
        ("reg:5000/x", _secret({"http://reg:5000": USER}, old=True), ["u/p"]),
        ("reg:5000/team/x", _secret({"reg:5000/team": USER}), ["u/p"]),
        ("reg:5000/teams/x", _secret({"reg:5000/team": USER}), ["u/p"]),
        ("reg:5000/tea/x", _secret({"reg:5000/team": USER}), []),
        ("reg:5000/x", _secret({"reg": USER}), []),
        ("reg/x", _secret({"reg:5000": USER}), []),
        ("other.org/x", _secret({"reg:5000": USER}), []),
        ("a.reg.io/x", _secret({"*.reg.io": USER}), ["u/p"]),
        ("a.b.reg.io/x", _secret({"*.reg.io": USER}), []),
        ("reg-1.eu.io/x", _secret({"reg-*.*.io": USER}), ["u/p"]),
        ("a.reg.io:5000/team/x", _secret({"*.reg.io:5000/team": USER}), ["u/p"]),
        ("nginx", {"data": {".dockerconfigjson": "!!!"}}, []),
        ("nginx", {"data": {}}, []),
    ],
)
def test_credentials_of_the_registry_are_found(image: str, secret: dict[str, Any], users: list[str]) -> None:
    assert [f"{a.username}/{a.password}" for a in build_auths(image, [secret])] == users


def test_credentials_under_a_pattern_are_for_the_registry_that_it_matched() -> None:
    (auth,) = build_auths("a.reg.io/x", [_secret({"*.reg.io": USER})])
    assert auth.server_address == "a.reg.io"


def test_more_specific_credentials_come_first() -> None:
    secret = _secret({"reg:5000": USER, "reg:5000/team": {"username": "t", "password": "p"}})
    assert [a.username for a in build_auths("reg:5000/team/x", [secret])] == ["t", "u"]


def test_text_after_a_pull() -> None:
    assert format_pulled("nginx", 1.2004, 123) == (
        'Successfully pulled image "nginx" in 1.2s (1.2s including waiting). Image size: 123 bytes.'
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (10, "10s"), (80, "1m20s"), (300, "5m0s"), (3661.5, "1h1m1.5s")],
)
def test_durations_as_go_prints_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (ImagePullError("x: not found"), "ErrImagePull", "x: not found"),
        (
            ImagePullError("connection refused", reason="RegistryUnavailable"),
            "RegistryUnavailable",
            "image pull failed for nginx because the registry is unavailable: connection refused",
        ),
        (
            ImagePullError("no signature", reason="SignatureValidationFailed"),
            "SignatureValidationFailed",
            "image pull failed for nginx because the signature validation failed: no signature",
        ),
    ],
)
def test_failed_pulls_are_worded_as_by_the_kubelet(error: ImagePullError, reason: str, message: str) -> None:
    assert explain_pull_error("nginx", error) == (reason, message)

"""Image references by Docker's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api import image_refs
from podhost.errors import InvalidError

_DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("ref", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("training/webapp", "docker.io/training/webapp:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/a/b:t", "localhost:5000/a/b:t"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
        (f"nginx@{_DIGEST}", f"docker.io/library/nginx@{_DIGEST}"),
        (f"nginx:1@{_DIGEST}", f"docker.io/library/nginx:1@{_DIGEST}"),
        ("Host/x", "Host/x:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
    ],
)
def test_names_are_completed(ref: str, full: str) -> None:
    assert str(image_refs.normalize(ref)) == full


@pytest.mark.parametrize(
    ("ref", "cause"),
    [
        ("", "repository name must have at least one component"),
        ("NGINX", r"invalid reference format: repository name \(library/NGINX\) must be lowercase"),
        ("ng inx", "invalid reference format"),
        ("nginx:", "invalid reference format"),
        ("nginx:a:b", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("https://x/y", "invalid reference format"),
        ("a" * 64, "64-byte hexadecimal"),
        ("x@sha256:abc", "invalid reference format"),
        ("x@sha256:" + "a" * 40, "invalid checksum digest length"),
        ("x@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("x\n", "invalid reference format"),
    ],
)
def test_bad_references_are_explained(ref: str, cause: str) -> None:
    with pytest.raises(InvalidError, match=cause):
        image_refs.normalize(ref)


@given(st.text("abA/:@.-_0", max_size=20))
def test_a_completed_reference_stays_as_it_is(ref: str) -> None:
    try:
        parsed = image_refs.normalize(ref)
    except InvalidError:
        return
    assert image_refs.normalize(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("ref", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        (f"nginx@{_DIGEST}", "IfNotPresent"),
        ("N G", "IfNotPresent"),
    ],
)
def test_latest_is_always_pulled(ref: str, policy: str) -> None:
    assert image_refs.default_pull_policy(ref) == policy

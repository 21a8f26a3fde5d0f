"""The server's part of metadata."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.api import kinds
from podhost.api.errors import ApiError
from podhost.api.review_kinds import EVICTION
from podhost.apiserver import identity

OLD = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "5", "creationTimestamp": "t"}


def test_new_object_gets_a_fresh_identity() -> None:
    metadata: dict[str, Any] = {"generateName": "a-", "uid": "old", "resourceVersion": "3"}
    identity.assign(metadata, now="now", uid="new")
    assert metadata["name"].startswith("a-")
    assert metadata == {
        "generateName": "a-",
        "name": metadata["name"],
        "uid": "new",
        "creationTimestamp": "now",
    }


def test_clients_cannot_change_system_metadata() -> None:
    new: dict[str, Any] = {
        "name": "a",
        "uid": "x",
        "creationTimestamp": "y",
        "deletionTimestamp": "z",
        "selfLink": "s",
    }
    identity.keep_system_metadata(new, OLD)
    assert new == {"name": "a", "uid": "u", "creationTimestamp": "t", "resourceVersion": "5"}


@pytest.mark.parametrize("metadata", [{"uid": "x"}, {"resourceVersion": "4"}])
def test_stale_update_conflicts(metadata: dict[str, str]) -> None:
    with pytest.raises(ApiError, match='Operation cannot be fulfilled on configmaps "a"') as caught:
        identity.check_update(kinds.CONFIG_MAP, {"name": "a", **metadata}, OLD)
    assert caught.value.code == 409


def test_update_without_a_version_overwrites_unless_the_kind_forbids_it() -> None:
    identity.check_update(kinds.CONFIG_MAP, {"name": "a"}, OLD)
    with pytest.raises(ApiError, match="must be specified for an update"):
        identity.check_update(kinds.LEASE, {"name": "a"}, OLD)


@pytest.mark.parametrize("version", ["", "0", None])
def test_version_zero_is_none(version: str | None) -> None:
    identity.check_version_of_new({"name": "a", "resourceVersion": version})
    identity.check_update(kinds.CONFIG_MAP, {"name": "a", "resourceVersion": version}, OLD)
    with pytest.raises(ApiError, match="must be specified for an update"):
        identity.check_update(kinds.LEASE, {"name": "a", "resourceVersion": version}, OLD)


def test_what_has_been_read_is_not_created_again() -> None:
    with pytest.raises(ApiError, match=r"^resourceVersion should not be set on objects to be created$"):
        identity.check_version_of_new({"name": "a", "resourceVersion": "5"})
    identity.check_version_of_new({"name": "a"})


def test_an_update_with_a_uid_creates_nothing() -> None:
    identity.check_uid_of_new(kinds.LEASE, {"name": "a"}, "a")
    with pytest.raises(ApiError, match=r"UID in precondition: u, UID in object meta: $") as caught:
        identity.check_uid_of_new(kinds.LEASE, {"name": "a", "uid": "u"}, "a")
    assert caught.value.code == 409


def test_the_name_in_the_body_of_an_update_is_that_of_the_url() -> None:
    identity.check_name({"name": "a"}, "a")
    with pytest.raises(ApiError, match=r"\(a based on URL\) was undeterminable: name must be provided"):
        identity.check_name({}, "a")
    with pytest.raises(ApiError, match=r"the name of the object \(b\) does not match the name on the URL \(a\)"):
        identity.check_name({"name": "b"}, "a")


@pytest.mark.parametrize("metadata", [{}, {"name": ""}, {"name": "other"}])
def test_an_eviction_names_its_pod(metadata: dict[str, str]) -> None:
    identity.check_named_twice(EVICTION, {"name": "p"}, "p")
    with pytest.raises(ApiError, match="name in URL does not match name in Eviction object") as caught:
        identity.check_named_twice(EVICTION, metadata, "p")
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, ""),
        ({"name": "a", "namespace": "ns"}, ""),
        ({"name": "b"}, 'metadata.name: Invalid value: "b": must match the service account name if specified'),
        (
            {"name": "a", "namespace": "x"},
            'metadata.namespace: Invalid value: "x": must match the service account namespace if specified',
        ),
    ],
)
def test_a_token_is_asked_for_the_account_of_the_url(metadata: dict[str, str], message: str) -> None:
    problems = identity.find_token_request_problems(metadata, "a", "ns")
    assert ", ".join(problem.message for problem in problems) == message


@pytest.mark.parametrize(("uid", "version"), [("x", None), (None, "4")])
def test_failed_precondition(uid: str | None, version: str | None) -> None:
    with pytest.raises(ApiError, match="Precondition failed"):
        identity.check_preconditions(kinds.POD, OLD, uid, version)
    identity.check_preconditions(kinds.POD, OLD, "u", "5")


def test_namespace_of_body_and_path_must_agree() -> None:
    metadata: dict[str, Any] = {}
    identity.check_namespace(kinds.POD, metadata, "ns")
    assert metadata == {"namespace": "ns"}
    with pytest.raises(ApiError, match="does not match the namespace sent on the request"):
        identity.check_namespace(kinds.POD, {"namespace": "other"}, "ns")
    cluster_scoped = {"namespace": "x"}
    identity.check_namespace(kinds.NODE, cluster_scoped, "")
    assert cluster_scoped == {}

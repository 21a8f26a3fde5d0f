"""``DeleteOptions`` of a request, from its body or its query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from podhost.api import errors
from podhost.api.deletion import DeleteOptions
from podhost.api.field_errors import FieldError, Path
from podhost.apiserver import bodies
from podhost.apiserver.call import Call

_POLICIES = ("Foreground", "Background", "Orphan")


class _Preconditions(msgspec.Struct, rename="camel"):
    uid: str | None = None
    resource_version: str | None = None


class _Body(msgspec.Struct, rename="camel"):
    grace_period_seconds: int | None = None
    preconditions: _Preconditions | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    dry_run: list[str] | None = None


async def read_delete_options(call: Call) -> DeleteOptions:
    """A body is taken alone; without one the query counts, as in Kubernetes.

    Raises:
        ApiError: It cannot be understood (400), or the options contradict each other (422).
    """
    document = await bodies.read_document(call)
    body = _convert(document) if document else _from_query(call)
    return _build(body, [*(body.dry_run or ()), *call.request.query.getall("dryRun", [])])


def parse_delete_options(document: Mapping[str, Any], *, dry_run: bool = False) -> DeleteOptions:
    """Options inside of another object.  Raises as :func:`read_delete_options`."""
    body = _convert(document)
    return _build(body, [*(body.dry_run or ()), *(["All"] if dry_run else [])])


def _convert(document: Mapping[str, Any]) -> _Body:
    try:
        return msgspec.convert(document, _Body)
    except msgspec.ValidationError as error:
        raise errors.cannot_be_handled("DeleteOptions", "v1", str(error)) from error


def _build(body: _Body, dry_run: list[str]) -> DeleteOptions:
    problems = _validate(body, dry_run)
    if problems:
        raise errors.invalid("DeleteOptions", "meta.k8s.io", "", problems)
    preconditions = body.preconditions or _Preconditions()
    return DeleteOptions(
        grace_period_s=body.grace_period_seconds,
        uid=preconditions.uid,
        resource_version=preconditions.resource_version,
        propagation_policy=body.propagation_policy,
        orphan_dependents=body.orphan_dependents,
        dry_run="All" in dry_run,
    )


def _from_query(call: Call) -> _Body:
    return _Body(
        grace_period_seconds=call.integer("gracePeriodSeconds"),
        propagation_policy=call.text("propagationPolicy") or None,
        orphan_dependents=call.optional_flag("orphanDependents"),
    )


def _validate(body: _Body, dry_run: list[str]) -> list[FieldError]:
    problems = []
    policy = Path("propagationPolicy")
    if body.propagation_policy is not None and body.orphan_dependents is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        problems.append(policy.invalid(body.propagation_policy, detail))
    if body.propagation_policy is not None and body.propagation_policy not in _POLICIES:
        problems.append(policy.not_supported(body.propagation_policy, (*_POLICIES, "nil")))
    unknown = [value for value in dry_run if value not in ("", "All")]
    if unknown:
        problems.append(Path("dryRun").not_supported(unknown, ("All",)))
    return problems

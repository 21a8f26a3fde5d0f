"""Handlers of reviews (who is this, may he do that) and of ``serviceaccounts/token``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from podhost.api import errors
from podhost.api.field_errors import FieldError, Path
from podhost.api.kind import Kind
from podhost.api.rbac import Attributes
from podhost.api.review_kinds import (
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    TOKEN_REQUEST,
    TOKEN_REVIEW,
)
from podhost.api.time import format_time
from podhost.apiserver import answers, bodies
from podhost.apiserver.account_tokens import ISSUER, TOKEN_REFUSED, AccountTokens, BoundObject
from podhost.apiserver.authn import Authenticator, User
from podhost.apiserver.authz import Authorizer
from podhost.apiserver.call import Call
from podhost.apiserver.identity import find_token_request_problems
from podhost.apiserver.write_options import read_write_options
from podhost.store import ObjectKey, Store

Obj = dict[str, Any]
Answer = Callable[[Call, Obj], Obj]
"""(call, spec) -> status."""

_MIN_EXPIRATION_S, _MAX_EXPIRATION_S = 600, 1 << 32
_DEFAULT_EXPIRATION_S = 3600
_BINDABLE = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


class ReviewHandlers:
    """Answers from users, rules and tokens; stores nothing."""

    def __init__(
        self, store: Store, authenticator: Authenticator, authorizer: Authorizer, tokens: AccountTokens | None
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._tokens = tokens
        self._answers: dict[Kind, Answer] = {
            TOKEN_REVIEW: self._review_token,
            SELF_SUBJECT_REVIEW: lambda call, _: {"userInfo": call.user.to_document()},
            SUBJECT_ACCESS_REVIEW: lambda _, spec: self._review_access(_read_user(spec), spec),
            SELF_SUBJECT_ACCESS_REVIEW: lambda call, spec: self._review_access(call.user, spec),
            LOCAL_SUBJECT_ACCESS_REVIEW: self._review_local_access,
            SELF_SUBJECT_RULES_REVIEW: self._review_rules,
        }

    async def review(self, call: Call) -> web.StreamResponse:
        """The object as it came, with its ``status``."""
        obj = await bodies.read_object(call, call.kind, read_write_options(call, "CreateOptions").validation)
        obj["status"] = self._answers[call.kind](call, obj.get("spec") or {})
        obj["metadata"].setdefault("creationTimestamp", None)
        return await answers.answer(call, obj, code=201)

    async def request_token(self, call: Call) -> web.StreamResponse:
        """``serviceaccounts/token``."""
        obj = await bodies.read_object(call, TOKEN_REQUEST, read_write_options(call, "CreateOptions").validation)
        problems = find_token_request_problems(obj["metadata"], call.name, call.namespace)
        if problems:
            raise errors.invalid(TOKEN_REQUEST.kind, TOKEN_REQUEST.group, call.name, problems)
        account = self._store.find(ObjectKey("serviceaccounts", call.namespace, call.name))
        if account is None or self._tokens is None:
            raise errors.not_found("serviceaccounts", call.name)
        spec = obj.get("spec") or {}
        spec["audiences"] = spec.get("audiences") or [ISSUER]
        spec.setdefault("expirationSeconds", _DEFAULT_EXPIRATION_S)
        _raise_if("TokenRequest", "authentication.k8s.io", _check_expiration(spec["expirationSeconds"]))
        bound = self._find_bound(call, spec.get("boundObjectRef"))
        issued = self._tokens.issue(
            account, audiences=spec["audiences"], expiration_s=spec["expirationSeconds"], bound=bound
        )
        if bound is not None:
            spec["boundObjectRef"]["uid"] = bound.uid
        status = {"token": issued.token, "expirationTimestamp": _format(issued.expires_at_s)}
        created = _format(issued.issued_at_s)
        metadata = {"name": call.name, "namespace": call.namespace, "creationTimestamp": created}
        return await answers.answer(call, obj | {"metadata": metadata, "spec": spec, "status": status}, code=201)

    def _find_bound(self, call: Call, reference: Mapping[str, Any] | None) -> BoundObject | None:
        if reference is None:
            return None
        kind, name, uid = (str(reference.get(key) or "") for key in ("kind", "name", "uid"))
        if kind not in _BINDABLE or reference.get("apiVersion") not in ("v1", None, ""):
            raise errors.bad_request(f'cannot bind token for serviceaccount "{call.name}" to object type {kind}')
        found = self._store.find(ObjectKey(_BINDABLE[kind], "" if kind == "Node" else call.namespace, name))
        if found is None:
            raise errors.not_found(_BINDABLE[kind], name)
        actual = found["metadata"]["uid"]
        if uid and uid != actual:
            detail = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise errors.conflict(_BINDABLE[kind], name, "", detail)
        return BoundObject(kind=kind, name=name, uid=actual)

    def _review_token(self, _: Call, spec: Obj) -> Obj:
        token, audiences = spec.get("token") or "", spec.get("audiences") or []
        if not token:
            raise errors.bad_request("token is required for TokenReview in authentication")
        verified = self._tokens.verify(token, audiences) if self._tokens is not None else None
        if verified is not None:
            user, named = verified.user, list(verified.audiences)
        else:
            found = self._authenticator.verify_token(token)
            if found is None or (audiences and ISSUER not in audiences):
                why = self._tokens.explain_refusal(token, audiences) if self._tokens is not None else TOKEN_REFUSED
                return {"authenticated": False, "user": {}, "error": why}
            user, named = found, [ISSUER]
        return {"authenticated": True, "user": user.to_document(), "audiences": named}

    def _review_access(self, user: User, spec: Obj) -> Obj:
        _check_access_spec(spec)
        decision = self._authorizer.authorize(user, _read_attributes(spec))
        status: Obj = {"allowed": decision.allowed}
        return status | ({"reason": decision.reason} if decision.reason else {})

    def _review_local_access(self, call: Call, spec: Obj) -> Obj:
        wanted = (spec.get("resourceAttributes") or {}).get("namespace")
        if spec.get("nonResourceAttributes") is not None or wanted != call.namespace:
            detail = f"must match metadata.namespace: {call.namespace}"
            path = Path("spec.resourceAttributes.namespace")
            _raise_if("LocalSubjectAccessReview", "authorization.k8s.io", [path.invalid(wanted or "", detail)])
        return self._review_access(_read_user(spec), spec)

    def _review_rules(self, call: Call, spec: Obj) -> Obj:
        namespace = spec.get("namespace") or ""
        if not namespace:
            raise errors.bad_request("no namespace on request")
        rules, problems = self._authorizer.list_rules(call.user, namespace)
        status: Obj = {
            "resourceRules": [dict(rule) for rule in rules if not rule.get("nonResourceURLs")],
            "nonResourceRules": [dict(rule) for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": bool(problems),
        }
        return status | ({"evaluationError": ", ".join(problems)} if problems else {})


def _read_user(spec: Obj) -> User:
    extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user") or "", frozenset(spec.get("groups") or ()), spec.get("uid") or "", extra)


def _read_attributes(spec: Obj) -> Attributes:
    urls = spec.get("nonResourceAttributes")
    if urls is not None:
        return Attributes(verb=urls.get("verb") or "", path=urls.get("path") or "")
    wanted = spec.get("resourceAttributes") or {}
    fields = ("verb", "namespace", "group", "resource", "subresource", "name")
    return Attributes(**{field: wanted.get(field) or "" for field in fields})


def _check_access_spec(spec: Obj) -> None:
    """Raises ApiError (422)."""
    path = Path("spec")
    has = [spec.get(field) is not None for field in ("resourceAttributes", "nonResourceAttributes")]
    problems: list[FieldError] = []
    if all(has):
        detail = "cannot be specified in combination with resourceAttributes"
        problems.append(path.child("nonResourceAttributes").invalid(spec["nonResourceAttributes"], detail))
    if not any(has):
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        problems.append(path.child("resourceAttributes").invalid(None, detail))
    _raise_if("SubjectAccessReview", "authorization.k8s.io", problems)


def _check_expiration(seconds: int) -> list[FieldError]:
    path = Path("spec.expirationSeconds")
    if seconds < _MIN_EXPIRATION_S:
        return [path.invalid(seconds, "may not specify a duration less than 10 minutes")]
    if seconds > _MAX_EXPIRATION_S:
        return [path.invalid(seconds, "may not specify a duration larger than 2^32 seconds")]
    return []


def _format(seconds: int) -> str:
    return format_time(seconds * 1_000_000_000)


def _raise_if(kind: str, group: str, problems: list[FieldError]) -> None:
    if problems:
        raise errors.invalid(kind, group, "", problems)

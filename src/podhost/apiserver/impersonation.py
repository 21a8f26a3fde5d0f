"""``kubectl --as``: to act as somebody else, for those who may ``impersonate`` him."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from podhost.api import errors
from podhost.api.rbac import SERVICE_ACCOUNT_PREFIX, Attributes
from podhost.apiserver.authn import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User
from podhost.apiserver.authz import Authorizer

_USER, _GROUP, _UID, _EXTRA = "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-"
_AUTHENTICATION = "authentication.k8s.io"


def impersonate(headers: CIMultiDictProxy[str], user: User, authorizer: Authorizer) -> User:
    """The user that the request wants to be taken for; ``user`` when it does not say.

    Raises:
        ApiError: 400 for groups, uid or extras without a user; 403 when ``user`` may not.
    """
    name, groups, uid = headers.get(_USER, ""), headers.getall(_GROUP, []), headers.get(_UID, "")
    extra = _read_extra(headers)
    if not name:
        if groups or uid or extra:
            raise errors.bad_request("requested impersonation without impersonating a user")
        return user
    for wanted in _build_attributes(name, groups, uid, extra):
        decision = authorizer.authorize(user, wanted)
        if not decision.allowed:
            scope = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
            detail = (
                f'User "{user.name}" cannot impersonate resource "{wanted.full_resource}" in API group '
                f'"{wanted.group}" {scope}'
            )
            raise errors.forbidden(wanted.full_resource, wanted.name, detail, wanted.group)
    return User(name, _complete_groups(name, groups), uid, extra)


def _read_extra(headers: CIMultiDictProxy[str]) -> dict[str, tuple[str, ...]]:
    extra: dict[str, tuple[str, ...]] = {}
    for header, value in headers.items():
        if header.lower().startswith(_EXTRA.lower()):
            key = unquote(header[len(_EXTRA) :].lower())
            extra[key] = (*extra.get(key, ()), value)
    return extra


def _build_attributes(
    name: str, groups: list[str], uid: str, extra: Mapping[str, tuple[str, ...]]
) -> Iterator[Attributes]:
    account = name.removeprefix(SERVICE_ACCOUNT_PREFIX).split(":")
    if name.startswith(SERVICE_ACCOUNT_PREFIX) and len(account) == 2:
        yield Attributes(verb="impersonate", namespace=account[0], resource="serviceaccounts", name=account[1])
    else:
        yield Attributes(verb="impersonate", resource="users", name=name)
    for group in groups:
        yield Attributes(verb="impersonate", resource="groups", name=group)
    if uid:
        yield Attributes(verb="impersonate", group=_AUTHENTICATION, resource="uids", name=uid)
    for key, values in extra.items():
        for value in values:
            yield Attributes(
                verb="impersonate", group=_AUTHENTICATION, resource="userextras", subresource=key, name=value
            )


def _complete_groups(name: str, groups: list[str]) -> frozenset[str]:
    """What would have come with the credentials."""
    complete = set(groups)
    account = name.removeprefix(SERVICE_ACCOUNT_PREFIX).split(":")
    if not groups and name.startswith(SERVICE_ACCOUNT_PREFIX) and len(account) == 2:
        complete |= {"system:serviceaccounts", f"system:serviceaccounts:{account[0]}"}
    if UNAUTHENTICATED not in complete:
        complete.add(UNAUTHENTICATED if name == ANONYMOUS.name else AUTHENTICATED)
    return frozenset(complete)

"""Users and what they may."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from podhost.api import kinds
from podhost.api.errors import ApiError
from podhost.apiserver.authn import ADMIN, ANONYMOUS, User, check_access, user_of_certificate
from podhost.apiserver.call import Call
from podhost.apiserver.routing import Access, Route

BOB = User("bob", frozenset({"users", "system:authenticated"}))


async def handler(call: Call) -> web.StreamResponse:
    raise NotImplementedError


def route(access: Access, **options: Any) -> Route:
    return Route(method="GET", pattern="/x", verb="get", handler=handler, access=access, **options)


def test_certificate_names_user_and_groups() -> None:
    subject = ((("organizationName", "system:masters"),), (("commonName", "root"),))
    user = user_of_certificate({"subject": subject})
    assert user.name == "root"
    assert "system:masters" in user.groups
    assert user_of_certificate(None) == user_of_certificate({"subject": ()}) == ANONYMOUS


@pytest.mark.parametrize(
    ("user", "access", "code"),
    [
        (ANONYMOUS, Access.PUBLIC, 0),
        (ANONYMOUS, Access.AUTHENTICATED, 401),
        (ANONYMOUS, Access.ADMIN, 401),
        (BOB, Access.AUTHENTICATED, 0),
        (BOB, Access.ADMIN, 403),
        (ADMIN, Access.ADMIN, 0),
    ],
)
def test_who_may_use_what(user: User, access: Access, code: int) -> None:
    answered = 0
    try:
        check_access(user, route(access), {})
    except ApiError as error:
        answered = error.code
    assert answered == code


def test_refusal_reads_as_in_kubernetes() -> None:
    refused = route(Access.ADMIN, kind=kinds.POD, subresource="log")
    with pytest.raises(ApiError) as caught:
        check_access(BOB, refused, {"namespace": "ns", "name": "p"})
    assert str(caught.value) == (
        'pods "p" is forbidden: User "bob" cannot get resource "pods/log" in API group "" in the namespace "ns"'
    )

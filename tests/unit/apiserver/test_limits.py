"""How much clients may ask for at once."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from podhost.api.errors import ApiError
from podhost.apiserver.authn import ADMIN, User
from podhost.apiserver.call import Call
from podhost.apiserver.limits import Admission, ConnectionCount, RequestLimits
from podhost.apiserver.routing import Access, Route

LIMITS = RequestLimits(reading=2, mutating=1, streams=3, streams_per_user=2, connections=3, connections_per_peer=2)
ANN, BOB = User("ann", frozenset()), User("bob", frozenset())


async def handle(_: Call) -> web.StreamResponse:
    raise AssertionError("nobody calls it")


def call(user: User, verb: str, access: Access = Access.GRANTED) -> Call:
    route = Route(method="GET", pattern="/x", verb=verb, handler=handle, access=access)
    return Call(cast(Any, SimpleNamespace(query={})), route, {}, user)


@pytest.mark.parametrize(
    ("before", "then", "refused"),
    [
        ([(ANN, "get")], (BOB, "list"), False),
        ([(ANN, "get"), (ANN, "list")], (BOB, "get"), True),
        ([(ANN, "get"), (ANN, "list")], (ADMIN, "get"), False),
        ([(ANN, "get"), (ANN, "list")], (BOB, "create"), False),
        ([(ANN, "create")], (ANN, "delete"), True),
        ([(ANN, "create")], (ANN, "watch"), False),
        ([(ANN, "watch"), (ANN, "watch")], (ANN, "watch"), True),
        ([(ANN, "watch"), (ANN, "watch")], (BOB, "watch"), False),
        ([(ADMIN, "watch"), (ADMIN, "watch")], (ADMIN, "watch"), False),
        ([(ADMIN, "watch"), (ADMIN, "watch"), (BOB, "watch")], (ADMIN, "watch"), True),
        ([(ADMIN, "watch"), (ADMIN, "watch"), (BOB, "watch")], (ANN, "get"), False),
    ],
)
def test_too_many_requests_are_refused_until_others_have_ended(
    before: list[tuple[User, str]], then: tuple[User, str], refused: bool
) -> None:
    admission = Admission(LIMITS)
    with ExitStack() as running:
        for user, verb in before:
            running.enter_context(admission.admitted(call(user, verb)))
        with admission.admitted(call(BOB, "get", Access.PUBLIC)):
            pass
        if refused:
            with pytest.raises(ApiError, match=r"Too many requests, please try again later\.") as caught:
                running.enter_context(admission.admitted(call(*then)))
            assert (caught.value.code, caught.value.reason) == (429, "TooManyRequests")
        else:
            running.enter_context(admission.admitted(call(*then)))
    with admission.admitted(call(*then)):
        pass


def test_no_peer_can_take_all_connections() -> None:
    count = ConnectionCount(LIMITS)
    first, second = count.take("10.0.0.1"), count.take("10.0.0.1")
    assert first is not None
    assert second is not None
    assert count.take("10.0.0.1") is None
    assert count.take("10.0.0.2") is not None
    assert count.take("10.0.0.3") is None
    first()
    assert count.take("10.0.0.3") is not None

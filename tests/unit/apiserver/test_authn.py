"""Users: of certificates, tokens and the unix socket."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from podhost.api.errors import ApiError
from podhost.apiserver.authn import ANONYMOUS, Authenticator, User, parse_token_file, user_of_certificate
from podhost.errors import InvalidError

BOB = User("bob", frozenset({"users", "system:authenticated"}), "7")


def test_certificate_names_user_and_groups() -> None:
    subject = ((("organizationName", "system:masters"),), (("commonName", "root"),))
    user = user_of_certificate({"subject": subject})
    assert user.name == "root"
    assert "system:masters" in user.groups
    assert user_of_certificate(None) == user_of_certificate({"subject": ()}) == ANONYMOUS


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ANONYMOUS),
        ("Basic Ym9iOg==", ANONYMOUS),
        ("Bearer ", ANONYMOUS),
        ("Bearer good", BOB),
        ("bearer good", BOB),
    ],
)
def test_a_bearer_token_names_its_user(header: str, expected: User) -> None:
    authenticator = Authenticator((lambda _: None, {"good": BOB}.get))
    request = make_mocked_request("GET", "/", headers={"Authorization": header} if header else {})
    request._protocol.transport = None
    assert authenticator.authenticate(request) == expected


def test_a_token_that_nobody_knows_is_refused_even_where_anybody_may_come() -> None:
    request = make_mocked_request("GET", "/version", headers={"Authorization": "Bearer bad"})
    request._protocol.transport = None
    with pytest.raises(ApiError) as caught:
        Authenticator((lambda _: None,)).authenticate(request)
    assert caught.value.code == 401


def test_token_file_as_of_kube_apiserver() -> None:
    users = parse_token_file('# comment\n\nabc,bob,7,"users,admins"\ndef, eve, 8\n')
    assert users["abc"] == User("bob", frozenset({"users", "admins", "system:authenticated"}), "7")
    assert users["def"] == User("eve", frozenset({"system:authenticated"}), "8")


@pytest.mark.parametrize("line", ["abc,bob", ",bob,7"])
def test_a_broken_token_file_names_the_line(line: str) -> None:
    with pytest.raises(InvalidError, match="line 2 is not of the form"):
        parse_token_file(f"abc,bob,7\n{line}\n")

"""Tokens of ServiceAccounts: what they say, and what ends them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from podhost.aiokit.clock import FakeClock
from podhost.apiserver.account_tokens import ISSUER, AccountTokens, BoundObject
from podhost.daemon.account_key import LibraryKey
from podhost.store import ObjectKey, Store

KEY = ec.generate_private_key(ec.SECP256R1())
ACCOUNT = ObjectKey("serviceaccounts", "ns", "bot")
POD = ObjectKey("pods", "ns", "p")
BOUND = BoundObject(kind="Pod", name="p", uid="u-p")


class World:
    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self.store = Store(path, self.clock)
        self.tokens = AccountTokens(self.store, self.clock, lambda: LibraryKey(KEY))
        self.account = self.put(ACCOUNT, "u-bot")
        self.put(POD, "u-p", spec={"nodeName": "n"})
        self.put(ObjectKey("nodes", "", "n"), "u-n")

    def put(self, key: ObjectKey, uid: str, **more: Any) -> dict[str, Any]:
        metadata = {"name": key.name, "namespace": key.namespace, "uid": uid}
        return self.store.create(key, {"metadata": metadata, **more})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "objects.db")
    yield made
    made.store.close()


def test_a_token_says_who_it_is(world: World) -> None:
    user = world.tokens.verify_user(world.tokens.issue(world.account, bound=BOUND).token)
    assert user is not None
    assert user.name == "system:serviceaccount:ns:bot"
    assert user.uid == "u-bot"
    assert user.groups == {"system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"}
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("p",)
    assert user.extra["authentication.kubernetes.io/node-uid"] == ("u-n",)


def test_a_token_is_for_its_audiences_only(world: World) -> None:
    token = world.tokens.issue(world.account, audiences=("vault", "other")).token
    assert world.tokens.verify(token) is None
    verified = world.tokens.verify(token, ("vault", "nobody"))
    assert verified is not None
    assert verified.audiences == ("vault",)
    assert world.tokens.explain_refusal(token) == (
        f'[invalid bearer token, token audiences ["vault" "other"] is invalid for the target audiences ["{ISSUER}"]]'
    )
    assert world.tokens.explain_refusal("a.b.c") == world.tokens.explain_refusal("abc") == "invalid bearer token"


def test_a_token_ends_with_its_time(world: World) -> None:
    token = world.tokens.issue(world.account, expiration_s=600).token
    world.clock.advance(599)
    assert world.tokens.verify_user(token) is not None
    world.clock.advance(1)
    assert world.tokens.verify_user(token) is None
    assert world.tokens.explain_refusal(token) == "[invalid bearer token, service account token has expired]"


def test_the_token_that_is_mounted_by_default_outlives_clients_that_read_it_once(world: World) -> None:
    issued = world.tokens.issue(world.account, expiration_s=3607, bound=BOUND)
    assert issued.expires_at_s - issued.issued_at_s == 3607
    world.clock.advance(timedelta(days=300).total_seconds())
    assert world.tokens.verify_user(issued.token) is not None


@pytest.mark.parametrize("key", [ACCOUNT, POD])
def test_a_token_dies_with_what_it_belongs_to(world: World, key: ObjectKey) -> None:
    token = world.tokens.issue(world.account, bound=BOUND).token
    world.store.delete(key)
    assert world.tokens.verify_user(token) is None
    world.put(key, "another uid")
    assert world.tokens.verify_user(token) is None


@pytest.mark.parametrize(
    ("changes", "key", "algorithm"),
    [
        ({}, ec.generate_private_key(ec.SECP256R1()), "ES256"),
        ({"iss": "https://elsewhere"}, KEY, "ES256"),
        ({}, "secret of at least thirty-two bytes in all", "HS256"),
        ({"kubernetes.io": None}, KEY, "ES256"),
    ],
)
def test_tokens_of_others_are_no_good(world: World, changes: dict[str, Any], key: Any, algorithm: str) -> None:
    good = jwt.decode(world.tokens.issue(world.account).token, options={"verify_signature": False})
    assert world.tokens.verify_user(jwt.encode(good | changes, key, algorithm=algorithm)) is None
    assert world.tokens.verify_user("rubbish") is None
    assert world.tokens.verify_user("") is None


def test_others_can_check_with_the_published_key(world: World) -> None:
    token = world.tokens.issue(world.account, audiences=("vault",)).token
    published = jwt.PyJWKSet.from_dict(world.tokens.build_key_set())
    key = published[jwt.get_unverified_header(token)["kid"]]
    untimed: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims = jwt.decode(token, key, algorithms=["ES256"], audience="vault", options=untimed)
    assert claims["iss"] == ISSUER

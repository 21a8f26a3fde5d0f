"""Who is asking: the unix socket means administrator; on TLS a client certificate or a bearer token says it."""

from __future__ import annotations

import asyncio
import csv
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from aiohttp import web

from podhost.api import errors
from podhost.errors import InvalidError

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
Extra = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request, as in ``authentication.k8s.io/v1 UserInfo``."""

    name: str
    groups: frozenset[str]
    uid: str = ""
    extra: Extra = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """A ``UserInfo``."""
        groups = sorted(self.groups, key=lambda group: (group == AUTHENTICATED, group))  # which Kubernetes adds last
        document: dict[str, Any] = {"username": self.name, "groups": groups}
        if self.uid:
            document["uid"] = self.uid
        if self.extra:
            document["extra"] = {key: list(values) for key, values in self.extra.items()}
        return document


ADMIN = User("podhost:socket", frozenset({MASTERS, AUTHENTICATED}))
ANONYMOUS = User("system:anonymous", frozenset({UNAUTHENTICATED}))

VerifyToken = Callable[[str], User | None]
"""The user whose token it is; ``None`` for a token that is not of this kind or not good."""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Asks the connection first, then each kind of token."""

    token_verifiers: tuple[VerifyToken, ...] = ()

    def authenticate(self, request: web.Request) -> User:
        """The user of a request; ``ANONYMOUS`` when it brings no credentials.

        Raises:
            ApiError: 401 for a token that nobody knows, or no longer.
        """
        user = user_of_transport(request.transport)
        if user != ANONYMOUS:
            return user
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        found = self.verify_token(token.strip())
        if found is None:
            raise errors.unauthorized()
        return found

    def verify_token(self, token: str) -> User | None:
        """The first user that a verifier finds."""
        return next((user for verify in self.token_verifiers if (user := verify(token)) is not None), None)


def user_of_transport(transport: asyncio.BaseTransport | None) -> User:
    """The user behind a connection.  A certificate was verified against our CA in the TLS handshake."""
    if transport is None:
        return ANONYMOUS
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        return ADMIN
    return user_of_certificate(transport.get_extra_info("peercert"))


def user_of_certificate(certificate: Mapping[str, Any] | None) -> User:
    """CN is the user, each O a group.  ``certificate`` is what ``SSLSocket.getpeercert()`` gives."""
    if not certificate:
        return ANONYMOUS
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    user = next((value for field, value in names if field == "commonName"), "")
    if not user:
        return ANONYMOUS
    groups = {value for field, value in names if field == "organizationName"}
    return User(user, frozenset(groups | {AUTHENTICATED}))


def parse_token_file(text: str) -> dict[str, User]:
    """Lines of ``token,user,uid,"group1,group2"``, as kube-apiserver's ``--token-auth-file`` has them.

    Raises:
        InvalidError: A line has fewer than three columns, or no token.
    """
    users: dict[str, User] = {}
    for number, row in enumerate(csv.reader(StringIO(text), skipinitialspace=True), start=1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 3 or not row[0]:
            raise InvalidError(f'cannot read the token file: line {number} is not of the form token,user,uid,"groups"')
        token, name, uid, *groups = row
        named = {group for listed in groups[:1] for group in listed.split(",") if group}
        users[token] = User(name, frozenset(named | {AUTHENTICATED}), uid)
    return users

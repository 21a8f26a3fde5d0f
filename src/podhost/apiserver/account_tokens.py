"""ServiceAccount tokens: signed, bound to an audience, a time and perhaps a pod; checked against the store.

The claims are those of ``pkg/serviceaccount/claims.go``.  A token dies with its account, and with the pod, secret or
node that it is bound to.  The key is read with the first token.  The libraries that check one take 10 MiB, and are
loaded when one is presented; they are not needed to write one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from podhost.aiokit.clock import Clock
from podhost.api.rbac import SERVICE_ACCOUNT_PREFIX
from podhost.apiserver.authn import AUTHENTICATED, User
from podhost.store import ObjectKey, Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

TOKEN_REFUSED = "invalid bearer token"
ISSUER = "https://kubernetes.default.svc.cluster.local"
_ALGORITHM = "ES256"
_OPTIONS: Any = {"require": ["exp", "sub", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
"""Times are compared with our own clock."""
_PRIVATE = "kubernetes.io"
_EXTRA = "authentication.kubernetes.io/"
_BOUND = {"Pod": ("pods", "pod"), "Secret": ("secrets", "secret"), "Node": ("nodes", "node")}
"""Kind → (resource, claim)."""
_MOUNTED_S = 3607
"""What the admission of pods asks for, so that it can be told from what a user wants."""
_EXTENDED_S = 365 * 24 * 3600
"""Such a token lives longer than it says, for clients that do not read the file again (BoundServiceAccountToken)."""

Obj = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundObject:
    """What a token dies with."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """Times are seconds since the epoch; at ``expires_at_s`` it should have been replaced."""

    token: str
    issued_at_s: int
    expires_at_s: int


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    user: User
    audiences: tuple[str, ...]


def _list_audiences(claims: Mapping[str, Any]) -> list[str]:
    return claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]


class AccountKey(Protocol):
    """A private key of the curve P-256."""

    @property
    def public_der(self) -> bytes:
        """Its public half, as SubjectPublicKeyInfo."""

    def sign(self, message: bytes) -> bytes:
        """r and s of ECDSA with SHA-256, 32 bytes each, as JWTs have them.  Raises OSError."""


class AccountTokens:
    """Issues and verifies with one key, which ``read_key`` reads."""

    def __init__(self, store: Store, clock: Clock, read_key: Callable[[], AccountKey]) -> None:
        self._store = store
        self._clock = clock
        self._read_key = read_key

    @cached_property
    def _key(self) -> AccountKey:
        return self._read_key()

    @cached_property
    def _public(self) -> ec.EllipticCurvePublicKey:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = serialization.load_der_public_key(self._key.public_der)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return key

    @cached_property
    def _key_id(self) -> str:
        return compute_key_id(self._key.public_der)

    def issue(
        self, account: Obj, *, audiences: Sequence[str] = (), expiration_s: int = 3600, bound: BoundObject | None = None
    ) -> IssuedToken:
        """A token of a ServiceAccount; without audiences it is for this API."""
        now = self._clock.now_ns() // 1_000_000_000
        metadata = account["metadata"]
        private: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        lives_s = expiration_s
        if bound is not None:
            private |= self._bound_claims(metadata["namespace"], bound)
            if bound.kind == "Pod" and expiration_s == _MOUNTED_S and not set(audiences) - {ISSUER}:
                lives_s = _EXTENDED_S
                private["warnafter"] = now + expiration_s
        claims = {
            "aud": list(audiences) or [ISSUER],
            "exp": now + lives_s,
            "iat": now,
            "iss": ISSUER,
            "jti": str(uuid4()),
            _PRIVATE: private,
            "nbf": now,
            "sub": f"{SERVICE_ACCOUNT_PREFIX}{metadata['namespace']}:{metadata['name']}",
        }
        return IssuedToken(self._build_token(claims), now, now + expiration_s)

    def _build_token(self, claims: Mapping[str, Any]) -> str:
        """A JWT in its compact form (RFC 7515)."""
        header = {"alg": _ALGORITHM, "kid": self._key_id, "typ": "JWT"}
        parts = (json.dumps(part, separators=(",", ":")).encode() for part in (header, claims))
        signed = ".".join(map(_base64url, parts))
        return f"{signed}.{_base64url(self._key.sign(signed.encode()))}"

    def verify(self, token: str, audiences: Sequence[str] = ()) -> VerifiedToken | None:
        """Whose token it is, and for which of ``audiences`` (default: this API); ``None`` if it is no good."""
        if token.count(".") != 2:
            return None  # none of ours, which is told without a library
        import jwt

        wanted = list(audiences) or [ISSUER]
        now = self._clock.now_ns() / 1e9
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=[_ALGORITHM],
                audience=wanted,
                issuer=ISSUER,
                options=_OPTIONS,
            )
        except jwt.InvalidTokenError:
            return None
        if not claims.get("nbf", 0) <= now < claims["exp"]:
            return None
        user = self._find_user(claims)
        if user is None:
            return None
        named = _list_audiences(claims)
        return VerifiedToken(user, tuple(each for each in wanted if each in named))

    def explain_refusal(self, token: str, audiences: Sequence[str] = ()) -> str:
        """What a token is no good for, of one that :meth:`verify` does not take; nothing of a stranger's."""
        if token.count(".") != 2:
            return TOKEN_REFUSED
        import jwt

        options: Any = {**_OPTIONS, "verify_aud": False}
        try:
            claims = jwt.decode(token, self._public, algorithms=[_ALGORITHM], issuer=ISSUER, options=options)
        except jwt.InvalidTokenError:
            return TOKEN_REFUSED
        named, wanted = _list_audiences(claims), list(audiences) or [ISSUER]
        if not set(named) & set(wanted):
            given, target = (" ".join(map(json.dumps, each)) for each in (named, wanted))
            return f"[{TOKEN_REFUSED}, token audiences [{given}] is invalid for the target audiences [{target}]]"
        now = self._clock.now_ns() / 1e9
        if now >= claims["exp"]:
            return f"[{TOKEN_REFUSED}, service account token has expired]"
        return TOKEN_REFUSED

    def verify_user(self, token: str) -> User | None:
        """For :class:`podhost.apiserver.authn.Authenticator`."""
        verified = self.verify(token)
        return None if verified is None else verified.user

    def build_key_set(self) -> dict[str, Any]:
        """``/openid/v1/jwks``."""
        x, y = self._key.public_der[-64:-32], self._key.public_der[-32:]
        point = {"x": _base64url(x), "y": _base64url(y)}
        key = {"use": "sig", "kty": "EC", "kid": self._key_id, "crv": "P-256", "alg": _ALGORITHM}
        return {"keys": [key | point]}

    def _bound_claims(self, namespace: str, bound: BoundObject) -> dict[str, Any]:
        claims: dict[str, Any] = {_BOUND[bound.kind][1]: {"name": bound.name, "uid": bound.uid}}
        pod = self._store.find(ObjectKey("pods", namespace, bound.name)) if bound.kind == "Pod" else None
        node_name = ((pod or {}).get("spec") or {}).get("nodeName")
        node = self._store.find(ObjectKey("nodes", "", node_name)) if node_name else None
        if node is not None:
            claims["node"] = {"name": node_name, "uid": node["metadata"]["uid"]}
        return claims

    def _find_user(self, claims: Mapping[str, Any]) -> User | None:
        private = claims.get(_PRIVATE)
        if not isinstance(private, dict):
            return None
        namespace, named = str(private.get("namespace") or ""), private.get("serviceaccount") or {}
        account = self._store.find(ObjectKey("serviceaccounts", namespace, str(named.get("name") or "")))
        if account is None or account["metadata"].get("uid") != named.get("uid") or _is_gone(account):
            return None
        extra: dict[str, tuple[str, ...]] = {f"{_EXTRA}credential-id": (f"JTI={claims.get('jti', '')}",)}
        for resource, claim in _BOUND.values():
            reference = private.get(claim)
            if not reference:
                continue
            # A pod's node may go and come back; what the token is bound to may not.
            is_binding = claim != "node" or not (private.get("pod") or private.get("secret"))
            if is_binding and not self._is_there(resource, "" if claim == "node" else namespace, reference):
                return None
            if claim != "secret":
                extra[f"{_EXTRA}{claim}-name"] = (str(reference["name"]),)
                extra[f"{_EXTRA}{claim}-uid"] = (str(reference["uid"]),)
        return user_of_account(account, extra)

    def _is_there(self, resource: str, namespace: str, reference: Mapping[str, Any]) -> bool:
        found = self._store.find(ObjectKey(resource, namespace, str(reference.get("name") or "")))
        return found is not None and found["metadata"].get("uid") == reference.get("uid")


def user_of_account(account: Obj, extra: Mapping[str, tuple[str, ...]] | None = None) -> User:
    """As whom a ServiceAccount makes requests."""
    metadata = account["metadata"]
    namespace = metadata["namespace"]
    groups = {"system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED}
    return User(
        f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{metadata['name']}", frozenset(groups), metadata["uid"], extra or {}
    )


def compute_key_id(public_der: bytes) -> str:
    """As kube-apiserver's: the hash of the key in DER form."""
    return _base64url(hashlib.sha256(public_der).digest())


def build_discovery(server: str) -> dict[str, Any]:
    """``/.well-known/openid-configuration``; ``server`` is where the keys are to be had."""
    return {
        "issuer": ISSUER,
        "jwks_uri": f"{server}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [_ALGORITHM],
    }


def _is_gone(obj: Obj) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

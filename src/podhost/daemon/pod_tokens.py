"""Tokens in the files of pods: made by the API server's issuer, replaced in time.

Timers end with the daemon; the next one makes new tokens for all pods that run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from podhost.aiokit.clock import Clock
from podhost.api import models
from podhost.apiserver.account_tokens import AccountTokens, BoundObject
from podhost.cri.ids import PodUID
from podhost.cri.volumes import VolumeError
from podhost.errors import describe_cause
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

_RENEW_AFTER = 0.8
"""Part of its life after which a token is replaced, or a day, as under a kubelet."""
_RENEW_AFTER_S = 24 * 3600.0
_JITTER_S = 10.0
_NS_PER_S = 1_000_000_000

TokenKey = tuple[str, int]
"""Audience, expiration in seconds."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at_ns: int
    timer: asyncio.TimerHandle


class PodTokens:
    """Implements :class:`podhost.volumes.projected.TokenIssuer`; ``on_due`` is told of pods whose files are due."""

    def __init__(self, store: Store, clock: Clock, tokens: AccountTokens) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._issued: dict[PodUID, dict[TokenKey, _Token]] = {}
        self.on_due: Callable[[PodUID], None] = lambda _: None
        self._undo = store.subscribe("pods", lambda event: self._forget(event.object, gone=event.type == "DELETED"))

    def close(self) -> None:
        """Idempotent."""
        self._undo()
        for uid in tuple(self._issued):
            self._drop(uid)

    def issue_pod_token(self, pod: models.Pod, audience: str, expiration_s: int) -> str:
        """See :class:`podhost.volumes.projected.TokenIssuer`.

        Raises:
            VolumeError: The pod's ServiceAccount is not there, or its token cannot be signed.
        """
        uid, key = PodUID(pod.metadata.uid), (audience, expiration_s)
        known = self._issued.setdefault(uid, {})
        old = known.get(key)
        if old is not None:
            if self._clock.now_ns() < old.renew_at_ns:
                return old.text
            old.timer.cancel()
        namespace, name = pod.metadata.namespace, pod.spec.service_account_name or "default"
        account = self._store.find(ObjectKey("serviceaccounts", namespace, name))
        if account is None:
            raise VolumeError(f'failed to fetch token: serviceaccounts "{name}" not found')
        bound = BoundObject(kind="Pod", name=pod.metadata.name, uid=uid)
        audiences = (audience,) if audience else ()
        try:
            issued = self._tokens.issue(account, audiences=audiences, expiration_s=expiration_s, bound=bound)
        except OSError as error:
            raise VolumeError(f"failed to fetch token: {describe_cause(error)}") from error
        wait_s = min(expiration_s * _RENEW_AFTER, _RENEW_AFTER_S)
        timer = asyncio.get_running_loop().call_later(wait_s + random.uniform(0, _JITTER_S), self._on_timer, uid)
        known[key] = _Token(issued.token, self._clock.now_ns() + int(wait_s * _NS_PER_S), timer)
        return issued.token

    def _on_timer(self, uid: PodUID) -> None:
        if uid in self._issued:
            self.on_due(uid)

    def _forget(self, pod: dict[str, object], *, gone: bool) -> None:
        metadata = pod["metadata"]
        assert isinstance(metadata, dict)
        if gone:
            self._drop(PodUID(metadata["uid"]))

    def _drop(self, uid: PodUID) -> None:
        for token in self._issued.pop(uid, {}).values():
            token.timer.cancel()

"""The real image store keeps the contract that the fake is held to."""

from __future__ import annotations

import pytest

from harness.image_contract import ImageContract, Subject
from podhost.cri.images import ImageService
from podhost.images.service import ImageStore
from registry import Registry, make_tar


class RealSubject:
    def __init__(self, service: ImageService, registry: Registry) -> None:
        self.service = service
        self._registry = registry

    def publish(self, repository: str) -> str:
        self._registry.push_image(repository, "1", [make_tar(("file", repository.encode()))])
        return f"{self._registry.host}/{repository}:1"

    def nowhere(self) -> str:
        return f"{self._registry.host}/contract/nowhere:1"


class TestRealImages(ImageContract):
    @pytest.fixture
    def subject(self, store: ImageStore, registry: Registry) -> Subject:
        return RealSubject(store, registry)

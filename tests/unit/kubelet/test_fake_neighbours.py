"""The fake image store and the fake volumes keep the contracts of the real ones."""

from __future__ import annotations

import pytest

from harness.cri_fakes import FakeImages, FakeVolumes
from harness.image_contract import ImageContract, Subject
from harness.volume_contract import VolumeContract
from podhost.cri.images import ImageService
from podhost.cri.volumes import PodVolumes


class FakeSubject:
    def __init__(self) -> None:
        self._fake = FakeImages()
        self.service: ImageService = self._fake

    def publish(self, repository: str) -> str:
        ref = f"registry.example/{repository}:1"
        self._fake.remote.add(ref)
        return ref

    def nowhere(self) -> str:
        return "registry.example/contract/nowhere:1"


class TestFakeImages(ImageContract):
    @pytest.fixture
    def subject(self) -> Subject:
        return FakeSubject()


class TestFakeVolumes(VolumeContract):
    @pytest.fixture
    def volumes(self) -> PodVolumes:
        return FakeVolumes(lost={("ns", "lost")})

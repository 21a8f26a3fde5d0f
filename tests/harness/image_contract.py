"""What every ImageService does, the real one and the fake that other tests believe: one suite for both.

A subclass gives the fixture ``subject``.  It is not collected by itself.
"""

from __future__ import annotations

from typing import Protocol

import pytest

from podhost.cri.images import ImagePullError, ImageService
from podhost.errors import NotFoundError


class Subject(Protocol):
    """An empty store, and images that a registry has for it."""

    service: ImageService

    def publish(self, repository: str) -> str:
        """A reference, with tag ``1``, that can be pulled."""

    def nowhere(self) -> str:
        """A reference that the registry does not know."""


class ImageContract:
    """Names, digests and ids of images as they come and go."""

    async def test_an_image_is_not_there_until_it_is_pulled(self, subject: Subject) -> None:
        ref = subject.publish("contract/one")
        assert subject.service.image_status(ref) is None
        image = await subject.service.pull_image(ref)
        assert image.repo_tags == (ref,)
        assert image.local_names == ()
        assert subject.service.list_images() == [image]

    async def test_an_image_is_found_by_name_digest_and_id(self, subject: Subject) -> None:
        image = await subject.service.pull_image(subject.publish("contract/one"))
        (digest,) = image.repo_digests
        for ref in (image.repo_tags[0], digest, image.id):
            assert subject.service.image_status(ref) == image

    @pytest.mark.parametrize("ref", ["nothing:1", "Not:A:Name", "sha256:" + "0" * 64])
    async def test_what_is_not_here_is_none(self, subject: Subject, ref: str) -> None:
        assert subject.service.image_status(ref) is None

    async def test_a_pull_that_fails_leaves_nothing(self, subject: Subject) -> None:
        with pytest.raises(ImagePullError, match="not found"):
            await subject.service.pull_image(subject.nowhere())
        assert subject.service.list_images() == []

    async def test_pulling_again_gives_the_same_image(self, subject: Subject) -> None:
        ref = subject.publish("contract/one")
        assert await subject.service.pull_image(ref) == await subject.service.pull_image(ref)
        assert len(subject.service.list_images()) == 1

    async def test_a_second_name_is_one_of_the_same_image(self, subject: Subject) -> None:
        ref = subject.publish("contract/one")
        before = await subject.service.pull_image(ref)
        await subject.service.tag_image(ref, "mine")
        after = subject.service.image_status("mine")
        assert after is not None
        assert after == subject.service.image_status(ref)
        assert after.id == before.id
        assert set(after.repo_tags) == {ref, "docker.io/library/mine:latest"}

    async def test_an_image_goes_with_its_last_name(self, subject: Subject) -> None:
        ref = subject.publish("contract/one")
        image = await subject.service.pull_image(ref)
        await subject.service.tag_image(ref, "mine")
        await subject.service.remove_image(ref)
        assert subject.service.image_status(ref) is None
        left = subject.service.image_status("mine")
        assert left is not None
        assert left.repo_tags == ("docker.io/library/mine:latest",)
        await subject.service.remove_image("mine")
        assert subject.service.image_status(image.id) is None
        assert subject.service.list_images() == []

    async def test_an_id_takes_all_names_along(self, subject: Subject) -> None:
        ref = subject.publish("contract/one")
        image = await subject.service.pull_image(ref)
        await subject.service.tag_image(ref, "mine")
        await subject.service.remove_image(image.id)
        assert subject.service.list_images() == []

    async def test_what_is_not_here_is_neither_removed_nor_tagged(self, subject: Subject) -> None:
        with pytest.raises(NotFoundError):
            await subject.service.remove_image("nothing:1")
        with pytest.raises(NotFoundError):
            await subject.service.tag_image("nothing:1", "mine")

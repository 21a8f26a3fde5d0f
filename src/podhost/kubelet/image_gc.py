"""Images that no container needs are removed when the image store's disk fills (the kubelet's image collection).

Between a high and a low mark, least recently used first.  What the user has loaded or built under a name stays: it
cannot be pulled again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podhost.cri.images import Image
from podhost.errors import NotFoundError, PodhostError
from podhost.kubelet.node import build_node_reference
from podhost.kubelet.node_context import NodeContext
from podhost.linux.disk_space import read_disk_space

_log = logging.getLogger(__name__)

MIN_AGE_S = 120.0


@dataclass(slots=True)
class ImageAge:
    """Times of the loop's clock."""

    seen_s: float
    used_s: float


def update_ages(
    ages: Mapping[str, ImageAge], images: Iterable[Image], used: Iterable[str], now_s: float
) -> dict[str, ImageAge]:
    """What is known of the images that are there; ``used`` are the ids of those with a container.  Pure."""
    in_use = set(used)
    found = {}
    for image in images:
        old = ages.get(image.id)
        seen_s = old.seen_s if old is not None else now_s
        used_s = now_s if image.id in in_use else old.used_s if old is not None else float("-inf")
        found[str(image.id)] = ImageAge(seen_s, used_s)
    return found


def choose_removable(
    images: Iterable[Image], used: Iterable[str], ages: Mapping[str, ImageAge], now_s: float, min_age_s: float
) -> list[Image]:
    """Images that may go, the one first that has not been used for longest.  Pure."""
    in_use = set(used)
    found = [
        image
        for image in images
        if image.id not in in_use and not image.local_names and now_s - ages[image.id].seen_s >= min_age_s
    ]
    return sorted(found, key=lambda image: (ages[image.id].used_s, ages[image.id].seen_s))


class ImageReclaimer:
    """Removes images of the machine's store; those in use by another instance stay, the store sees to that."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._ages: dict[str, ImageAge] = {}

    async def keep_below_mark(self) -> None:
        """Above the high mark, remove until below the low one.  Raises OSError."""
        settings = self._context.settings
        if settings.images_dir is None or settings.image_gc_high_percent >= 100:
            return
        removable = self._look(MIN_AGE_S)
        capacity, used = await asyncio.to_thread(self._read_disk)
        if used * 100 < capacity * settings.image_gc_high_percent:
            return
        goal = capacity * settings.image_gc_low_percent // 100
        wanted, start = used - goal, used
        _log.info("the images' disk is full to %d %%: removing unused images", used * 100 // capacity)
        for image in removable:
            if used <= goal:
                return
            await self._remove(image)
            _, used = await asyncio.to_thread(self._read_disk)
        if used > goal:
            text = (
                f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, "
                f"but only found {max(0, start - used)} bytes eligible to free."
            )
            self._context.recorder.event(build_node_reference(self._context), "Warning", "FreeDiskSpaceFailed", text)

    async def remove_unused(self) -> None:
        """A disk is under pressure: all that may go, goes."""
        for image in self._look(0.0):
            await self._remove(image)

    def _look(self, min_age_s: float) -> list[Image]:
        context, now_s = self._context, asyncio.get_running_loop().time()
        images = context.images.list_images()
        used = {str(each.image_id) for each in context.runtime.list_containers()}
        self._ages = update_ages(self._ages, images, used, now_s)
        return choose_removable(images, used, self._ages, now_s, min_age_s)

    async def _remove(self, image: Image) -> None:
        try:
            await self._context.images.remove_image(image.id)
        except NotFoundError:
            return
        except (PodhostError, OSError) as error:
            _log.info("image %s stays: %s", image.id, error)
        else:
            _log.info("removed unused image %s (%s)", image.id, ", ".join(image.repo_tags))

    def _read_disk(self) -> tuple[int, int]:
        """(capacity, used) of the file system; what only root may use counts as used, as for the kubelet."""
        assert self._context.settings.images_dir is not None
        found = read_disk_space(self._context.settings.images_dir)
        return found.capacity_bytes, found.used_bytes

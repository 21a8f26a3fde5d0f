"""The examples' images in a store that test daemons share; made once a machine by ``scripts/build-images``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.daemon import running_daemon

REPOSITORY = Path(__file__).parents[2]
BUILD = REPOSITORY / "scripts" / "build-images"


def list_sources() -> dict[str, str]:
    """What ``podhost image load`` takes for each example image; builds what is missing."""
    listing = subprocess.run([str(BUILD), "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(line.split(" ", 1) for line in listing.splitlines())


def ensure_example_images(store: Path) -> None:
    """Have the images in ``store``, unless it has exactly these already."""
    state = repr(sorted(list_sources().items()))
    stamp = store / "loaded"
    if stamp.exists() and stamp.read_text() == state:
        return
    store.mkdir(parents=True, exist_ok=True)
    with running_daemon(store) as daemon:
        command = f"{sys.executable} -m podhost.cli.main"
        subprocess.run([str(BUILD), "--load"], check=True, env={**daemon.environment(), "PODHOST": command})
    stamp.write_text(state)

"""The examples' images in a store that test daemons share; built once a machine by ``scripts/build-images``."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.daemon import running_daemon

REPOSITORY = Path(__file__).parents[2]
NAMES = ("debian", "nginx", "nginx:alpine", "training/webapp", "allingeek/ch6_ipc")


def archive_directory() -> Path:
    """Build what is missing; the directory of the archives."""
    result = subprocess.run(
        [str(REPOSITORY / "scripts" / "build-images"), "--print-directory"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Path(result.stdout.splitlines()[-1])


def ensure_example_images(store: Path) -> None:
    """Load the archives into ``store``, unless it has exactly these already."""
    archives = sorted(archive_directory().glob("*.tar"))
    stamp = store / "loaded"
    state = "\n".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in archives)
    if stamp.exists() and stamp.read_text() == state:
        return
    store.mkdir(parents=True, exist_ok=True)
    with running_daemon(store) as daemon:
        for archive in archives:
            daemon.podhost("image", "load", str(archive), timeout_s=120)
    stamp.write_text(state)

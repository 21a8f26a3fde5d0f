"""``scripts/demo --down`` over made-up directories, in a mount namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif("os.geteuid() != 0", reason="needs root")

_REPOSITORY = Path(__file__).parents[3]
_PREPARE = """
set -e
cd "$1"
for place in /run /var/lib /var/log /opt /usr/local; do mount -t tmpfs none "$place"; done
mkdir -p /run/podhost/default /run/podhost/_network /var/lib/podhost/_images /var/lib/podhost/default/logs
mkdir -p /var/log/podhost /opt/podhost/venv/bin /usr/local/bin
touch /var/log/podhost/default.log
ln -s /opt/podhost/venv/bin/podhost /usr/local/bin/podhost
for other in $2; do mkdir -p "/var/lib/podhost/$other/manifests"; touch "/var/log/podhost/$other.log"; done
scripts/demo --down
for place in /run /var/lib /var/log /opt; do find "$place" -mindepth 1 | grep podhost || true; done
find /usr/local -type l
"""


def _take_down(tmp_path: Path, others: str) -> tuple[set[str], str]:
    """What is left, and what was said."""
    shutil.copytree(_REPOSITORY / "scripts", tmp_path / "scripts")
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", _PREPARE, "bash", str(tmp_path), others],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PODHOST_CACHE": str(tmp_path / "cache"), "SUDO_USER": "nobody"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split()), done.stderr


def test_alone_on_the_machine_all_of_podhost_goes(tmp_path: Path) -> None:
    (tmp_path / "cache" / "images").mkdir(parents=True)
    left, said = _take_down(tmp_path, "")
    assert left == set()
    assert not (tmp_path / "cache").exists()
    assert "gone: pods, daemon, data, images" in said


def test_other_instances_keep_their_data_and_what_they_share(tmp_path: Path) -> None:
    (tmp_path / "cache" / "images").mkdir(parents=True)
    left, said = _take_down(tmp_path, "two three")
    assert left >= {
        "/var/lib/podhost/_images",
        "/var/lib/podhost/two/manifests",
        "/var/lib/podhost/three/manifests",
        "/var/log/podhost/two.log",
        "/run/podhost/_network",
        "/opt/podhost/venv/bin",
        "/usr/local/bin/podhost",
    }
    assert not [path for path in left if "default" in path]
    assert (tmp_path / "cache" / "images").is_dir()
    assert "kept, for other instances have data here (three, two)" in said

"""What scripts/demo installs is whole: its copy of the sources builds a package with the descriptions of fields."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demos_copy_of_the_sources_builds_the_descriptions_of_fields(tmp_path: Path) -> None:
    source, built = tmp_path / "source", tmp_path / "built"
    source.mkdir()
    copy = '. scripts/lib/common.sh; . scripts/lib/setup.sh; copy_package "$1"'
    subprocess.run(["bash", "-euc", copy, "copy", str(source)], cwd=ROOT, check=True)
    (source / "src/podhost/api/descriptions.json.gz").unlink(missing_ok=True)  # of a checkout that was built before
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(built)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    texts = json.loads(gzip.decompress((built / "podhost/api/descriptions.json.gz").read_bytes()))
    assert texts["io.k8s.api.core.v1.PodSpec"]["containers"].startswith("List of containers belonging to the pod.")

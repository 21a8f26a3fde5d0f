"""The JavaScript client ``@kubernetes/client-node``; scripts/test installs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.client_pod import build_client_pod
from harness.daemon import Daemon

SCENARIO = Path(__file__).parent / "javascript" / "scenario.mjs"
MODULES = Path(os.environ.get("PODHOST_TEST_NODE_MODULES", "/var/cache/podhost/javascript/node_modules"))


def test_a_javascript_program_runs_a_pod_from_creation_to_its_end(
    daemon: Daemon, namespace: str, tmp_path: Path
) -> None:
    node = shutil.which("node")
    if node is None or not MODULES.is_dir():
        if os.environ.get("PODHOST_TEST_NEEDS") == "all":
            pytest.fail("node or @kubernetes/client-node is missing: scripts/test should have installed them")
        pytest.skip("needs node and @kubernetes/client-node (scripts/test)")
    # Modules are searched for beside the program and in the folders above it.
    program = shutil.copy(SCENARIO, tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    manifest = tmp_path / "pod.json"
    manifest.write_text(json.dumps(build_client_pod("js")))
    done = subprocess.run(
        [node, program, str(daemon.kubeconfig), namespace, str(manifest)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + daemon.log_tail()
    assert done.stdout.split() == ["created", "informed", "executed", "forwarded", "patched", "reported", "deleted"]

"""What stays of containers that have ended, in a crash loop that is made quick by ``--time-scale``."""

from __future__ import annotations

import json
import time
from pathlib import Path

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import build_pod, container_status


def _log_files(daemon: Daemon) -> list[str]:
    directory = daemon.data_root / daemon.instance / "logs"
    return sorted(path.name for path in directory.glob("*/c/*.log*"))


def _restarts(daemon: Daemon) -> int:
    return int(container_status(daemon, "default", "p").get("restartCount", 0))


def test_a_crash_loop_keeps_the_logs_of_the_last_two_runs(image_store: Path) -> None:
    with running_daemon(image_store, "--time-scale", "0.01") as daemon:
        began = time.monotonic()
        daemon.apply(json.dumps(json.loads(build_pod("p", "debian", "bash", "-c", "echo run $RANDOM; exit 1"))))
        wait_until(lambda: _restarts(daemon) >= 5, what="five restarts", timeout_s=40)
        # 10, 20, 40 and 80 s at a hundredth.
        assert 1.5 <= time.monotonic() - began < 40
        wait_until(lambda: len(_log_files(daemon)) <= 3, what="the removal of older logs")
        names = _log_files(daemon)
        assert all(int(name.partition(".")[0]) >= _restarts(daemon) - 3 for name in names), names
        last = daemon.kubectl("logs", "p", "--previous").stdout
        assert last.startswith("run ")
        assert last.count("\n") == 1
        layers = daemon.data_root / daemon.instance / "layers"
        assert len(list(layers.iterdir())) <= 4
        daemon.kubectl("delete", "pod", "p", "--now", "--timeout=20s")
        assert _log_files(daemon) == []

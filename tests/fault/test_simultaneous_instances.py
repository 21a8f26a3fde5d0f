"""Instances that start at the same moment, with data directories that know nothing of each other."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from harness.daemon import Daemon, running_daemon
from harness.residue import observe_residue


def plan_of(daemon: Daemon) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((daemon.data_root / daemon.instance / "network.json").read_text())
    return plan


def test_they_choose_different_networks(image_store: Path) -> None:
    with ExitStack() as stack:
        daemons = []
        for _ in range(4):
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podhost-test-")))
            daemons.append(Daemon(root, image_store))
            stack.callback(daemons[-1].stop)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Daemon.start, daemons))
        plans = [plan_of(daemon) for daemon in daemons]
    assert len({plan["bridge"] for plan in plans}) == 4
    ranges = [IPv4Network(plan["podCIDR"]) for plan in plans]
    assert not any(a.overlaps(b) for i, a in enumerate(ranges) for b in ranges[i + 1 :])


def test_an_instance_whose_network_was_taken_while_it_was_stopped_moves(image_store: Path) -> None:
    with running_daemon(image_store) as first:
        first.stop()
        with running_daemon(image_store) as second:
            # Whatever is free: make it exactly the network of the stopped one.
            second.stop()
            plan = plan_of(first) | {"table": plan_of(second)["table"]}
            (second.data_root / second.instance / "network.json").write_text(json.dumps(plan))
            second.start()
            first.start()
            assert plan_of(first)["bridge"] != plan_of(second)["bridge"]
            assert first.get("/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"].startswith(
                plan_of(first)["serviceCIDR"].rsplit(".", 2)[0]
            )
            first.stop()
            assert not observe_residue(first)
            assert observe_residue(second)

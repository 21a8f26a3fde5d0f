"""What is kept within limits while pods run: logs and volumes.  A daemon of its own looks often."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, kubectl_binary, running_daemon, wait_until
from harness.pods import build_pod, find_events

_LINES = 30_000
_FLAGS = (
    "--housekeeping-interval", "0.2",
    "--container-log-max-size", "64Ki",
    "--container-log-max-files", "1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def busy(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store, *_FLAGS) as running:
        yield running


def test_no_line_is_lost_when_logs_are_rotated_under_a_reader(busy: Daemon) -> None:
    """kubernetes#115701, #64315, through the API."""
    # Some 3 MiB over a few seconds.
    script = f"for ((i=1; i<={_LINES}; i++)); do echo line $i of a log that grows; ((i % 3000)) || sleep 0.3; done"
    busy.kubectl("apply", "-f", "-", stdin=build_pod("writer", "debian", "bash", "-c", script, restartPolicy="Never"))
    busy.kubectl("wait", "--for=condition=Ready", "pod/writer", "--timeout=30s")
    following = subprocess.run(
        [kubectl_binary(), "logs", "-f", "writer"],
        env=busy.environment(),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    wanted = [f"line {i} of a log that grows" for i in range(1, _LINES + 1)]
    assert following.stdout.decode().splitlines() == wanted
    assert busy.kubectl("logs", "writer").stdout.splitlines() == wanted
    assert busy.kubectl("logs", "--tail=2500", "writer").stdout.splitlines() == wanted[-2500:]
    (directory,) = busy.data_root.glob("*/logs/default_writer_*/c")
    assert len(os.listdir(directory)) > 4, "the log was not rotated"
    busy.kubectl("delete", "pod", "writer", "--timeout=30s")
    wait_until(lambda: not directory.exists(), what="the removal of its logs")


def test_pod_whose_volume_outgrows_its_limit_is_evicted(busy: Daemon) -> None:
    volumes = [{"name": "x", "emptyDir": {"sizeLimit": "1Mi"}}]
    script = "until [ -e /x/go ]; do sleep 0.1; done; dd if=/dev/zero of=/x/big bs=1M count=2; exec sleep infinity"
    containers = [
        {
            "name": "c",
            "image": "debian",
            "command": ["bash", "-c", script],
            "volumeMounts": [{"name": "x", "mountPath": "/x"}],
        }
    ]
    pod = build_pod("greedy", "", volumes=volumes, containers=containers, terminationGracePeriodSeconds=1000)
    busy.kubectl("apply", "-f", "-", stdin=pod)
    busy.kubectl("wait", "--for=condition=Ready", "pod/greedy", "--timeout=30s")
    busy.kubectl("exec", "greedy", "--", "touch", "/x/go")
    busy.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/greedy", "--timeout=20s")
    text = 'Usage of EmptyDir volume "x" exceeds the limit "1Mi". '
    status = busy.pod("greedy")["status"]
    assert (status["reason"], status["message"]) == ("Evicted", text)
    assert ("Warning", "Evicted", text) in find_events(busy, "default", "greedy")
    wait_until(lambda: not busy.container_pids(), what="the end of its containers")


def test_old_parts_of_a_log_are_removed(image_store: Path) -> None:
    flags = ("--housekeeping-interval", "0.1", "--container-log-max-size", "16Ki", "--container-log-max-files", "3")
    with running_daemon(image_store, *flags) as daemon:
        script = "for ((i=1; ; i++)); do echo line $i; ((i % 500)) || sleep 0.1; done"
        daemon.kubectl("apply", "-f", "-", stdin=build_pod("endless", "debian", "bash", "-c", script))
        daemon.kubectl("wait", "--for=condition=Ready", "pod/endless", "--timeout=30s")
        (directory,) = daemon.data_root.glob("*/logs/default_endless_*/c")

        def read_first() -> int:
            words = daemon.kubectl("logs", "endless").stdout.split("\n", 1)[0].split()
            return int(words[1]) if len(words) == 2 else 0

        wait_until(lambda: read_first() > 3000, what="the removal of old parts", timeout_s=30)
        assert len(os.listdir(directory)) <= 4  # one more while it is being rotated
        numbers = [int(line.split()[1]) for line in daemon.kubectl("logs", "endless").stdout.splitlines()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_pods_and_containers_that_write_more_than_they_may_are_evicted(busy: Daemon) -> None:
    """One into its root file system, all that its pod may; the other into its log, more than its own part."""
    wait = "until [ -e /go ]; do sleep 0.1; done; "
    scripts = {
        "writes": wait + "dd if=/dev/zero of=/big bs=1M count=3; exec sleep infinity",
        "talks": wait + "head -c 2500000 /dev/zero | tr '\\0' x | fold -w 1000; exec sleep infinity",
    }
    for name, script in scripts.items():
        container = {
            "name": "c",
            "image": "debian",
            "command": ["bash", "-c", script],
            "resources": {"limits": {"ephemeral-storage": "2Mi"}},
        }
        quiet = {"name": "d", "image": "debian", "command": ["sleep", "infinity"]}
        limit = {"resources": {"limits": {"ephemeral-storage": "100M"}}}
        containers = [container] if name == "writes" else [container, quiet | limit]
        spec = {"terminationGracePeriodSeconds": 0, "containers": containers}
        busy.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))
    texts = {
        "writes": "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        "talks": 'Container c exceeded its local ephemeral storage limit "2Mi". ',
    }
    for name, text in texts.items():
        busy.wait(f"pod/{name}", "condition=Ready")
        busy.kubectl("exec", name, "-c", "c", "--", "touch", "/go")
        busy.wait(f"pod/{name}", "jsonpath={.status.phase}=Failed")
        status = busy.pod(name)["status"]
        assert (status["reason"], status["message"]) == ("Evicted", text)
    node = json.loads(busy.kubectl("get", "node", "-o", "json").stdout)["items"][0]["status"]
    assert int(node["allocatable"]["ephemeral-storage"]) > 0
    busy.kubectl("delete", "pod", *texts, "--timeout=30s")

"""Static pods: files of a directory that run, and their mirrors in the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, running_daemon, wait_until

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: debian, command: [bash, -c, 'echo %s; exec sleep infinity']}
  priorityClassName: system-node-critical
"""
BROKEN = "apiVersion: v1\nkind: Pod\nmetadata: {name: broken}\nspec:\n  containerz: []\n"


@pytest.fixture
def static(image_store: Path, tmp_path: Path) -> Iterator[tuple[Daemon, Path]]:
    directory = tmp_path / "static"
    directory.mkdir()
    (directory / "web.yaml").write_text(POD % "one")
    with running_daemon(image_store, "--static-pod-dir", str(directory), "--node-name", "n1") as daemon:
        yield daemon, directory


def _find(daemon: Daemon, name: str = "web-n1") -> dict[str, Any]:
    items = daemon.get("/api/v1/namespaces/default/pods")["items"]
    return next((item for item in items if item["metadata"]["name"] == name), {})


def _wait_ready(daemon: Daemon) -> dict[str, Any]:
    wait_until(lambda: _find(daemon), what="the mirror")
    daemon.kubectl("wait", "--for=condition=Ready", "pod/web-n1", "--timeout=30s")
    return _find(daemon)


def _pid(daemon: Daemon) -> int:
    (pid,) = daemon.container_pids().values()
    return pid


def test_static_pods_follow_their_files(static: tuple[Daemon, Path]) -> None:
    daemon, directory = static
    first = _wait_ready(daemon)
    annotations = first["metadata"]["annotations"]
    assert annotations["kubernetes.io/config.source"] == "file"
    assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
    assert annotations["kubernetes.io/config.hash"] != first["metadata"]["uid"]
    assert first["metadata"]["ownerReferences"][0]["kind"] == "Node"
    assert (first["spec"]["priority"], first["spec"]["preemptionPolicy"]) == (2_000_001_000, "PreemptLowerPriority")
    wait_until(lambda: daemon.kubectl("logs", "web-n1").stdout == "one\n", what="the log")
    assert daemon.kubectl("exec", "web-n1", "--", "hostname").stdout == "web-n1\n"
    assert "Started" in daemon.kubectl("describe", "pod", "web-n1").stdout

    # The mirror is deleted and comes back; the container does not notice.
    pid = _pid(daemon)
    daemon.kubectl("delete", "pod", "web-n1", "--timeout=20s")
    second = _wait_ready(daemon)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    daemon.kubectl("delete", "pod", "web-n1", "--force", "--grace-period=0")
    third = _wait_ready(daemon)
    assert (_pid(daemon), third["status"]["containerStatuses"][0]["restartCount"]) == (pid, 0)

    # A daemon that starts again finds it running; so it does not when the file has changed meanwhile.
    daemon.kill()
    daemon.start()
    assert _wait_ready(daemon)["metadata"]["uid"] == third["metadata"]["uid"]
    assert _pid(daemon) == pid

    # Broken files are told and change nothing, not even what ran before.
    (directory / "nested").mkdir()
    (directory / "broken.yaml").write_text(BROKEN)
    (directory / "web.yaml").write_text((POD % "two").replace("name: c, image", "name: c image"))
    (directory / "more.yaml").write_text(BROKEN + "---\n" + POD % "never")
    (directory / "misfit.yaml").write_text(
        (POD % "never").replace("name: web", "name: misfit").replace("spec:", "spec:\n  nodeSelector: {disk: none}")
    )
    (directory / ".hidden.yaml").write_text(POD % "never")
    wait_until(lambda: daemon.log_path.read_text().count("static pod: ") >= 4, what="the warnings")
    events = [e["message"] for e in daemon.get("/api/v1/events")["items"] if e["reason"] == "InvalidStaticPod"]
    assert any(f"{directory}/broken.yaml:5:3: " in message for message in events), events
    assert any(f"{directory}/web.yaml:7:" in message for message in events), events
    wait_until(lambda: _find(daemon, "misfit-n1"), what="the mirror of what does not fit")
    status = _find(daemon, "misfit-n1")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "NodeAffinity")
    (directory / "misfit.yaml").unlink()
    wait_until(lambda: not _find(daemon, "misfit-n1"), what="its end")
    ignored = [e["message"] for e in daemon.get("/api/v1/events")["items"] if e["reason"] == "IgnoredDocument"]
    assert [message.partition(": ")[0] for message in ignored] == [f"{directory}/more.yaml:6:1"]
    assert _pid(daemon) == pid

    # The file changes: another pod in the place of the old one.
    (directory / "web.yaml").write_text(POD % "three")
    wait_until(lambda: daemon.kubectl("logs", "web-n1", check=False).stdout == "three\n", what="the new pod")
    assert _wait_ready(daemon)["metadata"]["annotations"]["kubernetes.io/config.hash"] != annotations[
        "kubernetes.io/config.hash"]  # fmt: skip
    assert _pid(daemon) != pid
    assert daemon.log_path.read_text().count("cannot read the static pod") == 1, "it is told once"

    # The file goes, and so does the pod.
    (directory / "web.yaml").unlink()
    wait_until(lambda: not _find(daemon) and not daemon.container_pids(), what="its end")

    # What nobody's file stands for is no mirror.
    fake = json.loads(json.dumps(third))
    fake["metadata"] = {"name": "fake", "annotations": annotations}
    daemon.kubectl("create", "-f", "-", stdin=json.dumps(fake))
    wait_until(lambda: not _find(daemon, "fake"), what="the end of the fake")

    # Everything can be stopped while there are static pods (the fixture does it): they do not come back.
    (directory / "web.yaml").write_text(POD % "four")
    _wait_ready(daemon)

"""Manifests against a real API server: what it refuses is found in the file, and --diff shows what ``up`` would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.daemon import Daemon

CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  mode: slow
"""
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: refused
spec:
  restartPolicy: Nver
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: debian
    ports:
    - containerPort: 70000
"""


def test_diff_shows_what_up_would_change_and_changes_nothing(daemon: Daemon, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(CONFIG)
    flags = ("-n", namespace, "check", "--diff", str(path))
    absent = daemon.podhost(*flags, check=False)
    assert (absent.returncode, absent.stdout) == (3, "")
    assert "configmap/settings is not there; it would be created" in absent.stderr
    daemon.podhost("-n", namespace, "up", "-d", str(path))
    same = daemon.podhost(*flags, check=False)
    assert (same.returncode, same.stdout) == (0, "")
    path.write_text(CONFIG.replace("slow", "fast"))
    changed = daemon.podhost(*flags, check=False)
    assert changed.returncode == 3
    assert "-  mode: slow\n+  mode: fast\n" in changed.stdout
    assert daemon.podhost(*flags, check=False).stdout == changed.stdout


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            POD,
            ("pod.yaml:6:18: error: spec.restartPolicy: Unsupported value", "did you mean `Never`?", "pod.yaml:12:22:"),
        ),
        (POD.replace("image:", "imag:"), ("pod.yaml:10:5: error: unknown field", "`imag`: did you mean `image`?")),
        (POD.replace("70000", "'80'"), ("pod.yaml:12:22: error: `containerPort` must be a whole number",)),
    ],
    ids=["causes", "strict", "decoding"],
)
def test_what_another_cluster_refuses_is_found_in_the_file(
    daemon: Daemon, namespace: str, tmp_path: Path, text: str, told: tuple[str, ...]
) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(text)
    flags = ("--kubeconfig", str(daemon.kubeconfig), "-n", namespace)
    done = daemon.podhost(*flags, "up", "-d", str(path), check=False)
    assert done.returncode == 1
    assert all(words in done.stderr for words in told), done.stderr
    assert "the server refuses pod/refused" in done.stderr


def test_forbidden_change_of_a_running_pod_names_its_line_and_the_way_out(
    daemon: Daemon, namespace: str, tmp_path: Path
) -> None:
    path = tmp_path / "pod.yaml"
    good = POD.replace("Nver", "Always").replace("70000", "80")
    path.write_text(good + '    command: ["sleep", "1000"]\n')
    daemon.podhost("-n", namespace, "up", "-d", str(path))
    path.write_text(good + '    command: ["sleep", "2000"]\n')
    done = daemon.podhost("-n", namespace, "up", "-d", str(path), check=False)
    assert done.returncode == 1
    assert "pod.yaml:5:1: error: spec: Forbidden: pod updates may not change fields" in done.stderr
    assert f"a running pod cannot be changed so: podhost -n {namespace} down {path}, then up again" in done.stderr

"""Two OCI runtimes side by side, chosen by RuntimeClass."""

from __future__ import annotations

from pathlib import Path

from harness.covers import covers
from harness.daemon import Daemon
from harness.pods import build_pod, wait_for_event

CLASS = """
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: %s}
handler: %s
%s"""


def _runtime_of(pid: int) -> str:
    """The OCI runtime that the monitor of a container was told to use."""
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    words = Path(f"/proc/{parent}/cmdline").read_text().split("\0")
    return next(Path(word.partition("=")[2]).name for word in words if word.startswith("--runtime="))


@covers("PodSpec.overhead", "PodSpec.runtimeClassName")
def test_a_pod_runs_under_the_runtime_of_its_class(daemon: Daemon, namespace: str) -> None:
    overhead = "overhead: {podFixed: {cpu: 10m, memory: 16Mi}}"
    for name, handler, more in (("old", "runc", overhead), ("new", "crun", ""), ("lost", "kata-fc", "")):
        daemon.apply(CLASS % (f"{name}-{namespace}", handler, more))
    try:
        for name, spec in (
            ("old", {"runtimeClassName": f"old-{namespace}", "shareProcessNamespace": True}),
            ("new", {"runtimeClassName": f"new-{namespace}"}),
            ("none", {}),
            ("lost", {"runtimeClassName": f"lost-{namespace}"}),
        ):
            manifest = build_pod(name, "debian", "sleep", "infinity", **spec)
            daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
        daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/old", "pod/new", "pod/none",
                       "--timeout=40s")  # fmt: skip
        pids = daemon.container_pids()
        found = {}
        for name in ("old", "new", "none"):
            (status,) = daemon.pod(name, namespace)["status"]["containerStatuses"]
            found[name] = _runtime_of(pids[status["containerID"].rpartition("/")[2]])
        assert found == {"old": "runc", "new": "crun", "none": "crun"}
        assert daemon.kubectl("exec", "-n", namespace, "old", "--", "echo", "hello").stdout == "hello\n"
        assert daemon.pod("old", namespace)["spec"]["overhead"] == {"cpu": "10m", "memory": "16Mi"}
        assert 'no runtime for "kata-fc" is configured' in wait_for_event(
            daemon, namespace, "lost", "FailedCreatePodSandBox"
        )
        manifest = build_pod("no", "debian", "sleep", "1", runtimeClassName="no-such")
        refused = daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest, check=False)
        assert 'pods "no" is forbidden: pod rejected: RuntimeClass "no-such" not found' in refused.stderr
        table = daemon.kubectl("get", "runtimeclasses", f"old-{namespace}").stdout.split()
        assert table[:3] == ["NAME", "HANDLER", "AGE"]
        (node,) = daemon.get("/api/v1/nodes")["items"]
        assert {entry["name"] for entry in node["status"]["runtimeHandlers"]} == {"", "crun", "runc"}
        daemon.kubectl("delete", "-n", namespace, "pod", "old", "new", "none", "lost", "--timeout=30s")
    finally:
        for name in ("old", "new", "lost"):
            daemon.kubectl("delete", "runtimeclass", f"{name}-{namespace}")

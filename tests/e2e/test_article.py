"""The article's three Pods, with the commands that the article types."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from harness.daemon import Daemon, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
DATE_LINE = re.compile(r"\d\d:\d\d:\d\d")


@pytest.fixture(autouse=True)
def _examples_are_removed(daemon: Daemon) -> object:
    yield
    daemon.kubectl("delete", "pod,service,configmap", "--all", "--grace-period=1", "--timeout=60s")
    return None


def fetch(url: str, timeout_s: float = 5) -> str:
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        body: bytes = response.read()
    return body.decode()


def test_mc1_shares_a_growing_file_through_a_volume(daemon: Daemon) -> None:
    daemon.kubectl("apply", "-f", str(EXAMPLES / "mc1"))
    daemon.wait("pod/mc1", "condition=Ready")

    def through_the_first() -> str:
        return daemon.kubectl("exec", "mc1", "-c", "1st", "--", "/bin/cat", "/usr/share/nginx/html/index.html").stdout

    wait_until(lambda: len(through_the_first().splitlines()) >= 2, what="two lines through the other container")
    through_the_second = daemon.kubectl("exec", "mc1", "-c", "2nd", "--", "/bin/cat", "/html/index.html").stdout
    assert all(DATE_LINE.search(line) for line in through_the_second.splitlines())
    assert through_the_second.startswith(through_the_first().splitlines()[0])

    address = daemon.pod("mc1")["status"]["podIP"]
    assert fetch(f"http://{address}/").splitlines()[0] == through_the_second.splitlines()[0]


def test_mc2_passes_messages_over_a_system_v_queue_and_completes(daemon: Daemon) -> None:
    watch = subprocess.Popen(
        ["kubectl", "get", "pods", "-w"],
        executable=__import__("harness.daemon").daemon.kubectl_binary(),
        env=daemon.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        daemon.kubectl("apply", "-f", str(EXAMPLES / "mc2"))
        daemon.wait("pod/mc2", "jsonpath={.status.phase}=Succeeded")
        produced = daemon.kubectl("logs", "mc2", "-c", "producer").stdout
        consumed = daemon.kubectl("logs", "mc2", "-c", "consumer").stdout
    finally:
        time.sleep(0.2)
        watch.terminate()
        seen = watch.communicate()[0]
    sent = re.findall(r"Produced: (\S+)", produced)
    assert len(sent) > 3
    assert re.findall(r"Consumed: (\S+)", consumed) == sent
    assert re.search(r"mc2\s+0/2\s+ContainerCreating\s+0", seen), seen
    assert re.search(r"mc2\s+0/2\s+Completed\s+0", seen), seen


def test_mc3_answers_through_nginx_on_a_node_port_and_only_there(daemon: Daemon) -> None:
    daemon.kubectl("apply", "-f", str(EXAMPLES / "mc3"))
    daemon.wait("pod/mc3", "condition=Ready")
    exposed = daemon.kubectl("expose", "pod", "mc3", "--type=NodePort", "--port=80").stdout
    assert "service/mc3 exposed" in exposed
    service = json.loads(daemon.kubectl("get", "service", "mc3", "-o", "json").stdout)
    port = service["spec"]["ports"][0]["nodePort"]
    host = daemon.get("/api/v1/nodes")["items"][0]["status"]["addresses"][0]["address"]

    def answers() -> bool:
        try:
            return "Hello" in fetch(f"http://127.0.0.1:{port}/")
        except (urllib.error.URLError, OSError):
            return False

    wait_until(answers, what="an answer on the node port")
    assert "Hello" in fetch(f"http://{host}:{port}/")
    assert "Hello" in fetch(f"http://{service['spec']['clusterIP']}/")
    with pytest.raises(OSError, match=r"refused|timed out"):
        fetch(f"http://{daemon.pod('mc3')['status']['podIP']}:5000/", timeout_s=2)


def test_several_ports_of_one_service_all_answer(daemon: Daemon) -> None:
    daemon.kubectl("apply", "-f", str(EXAMPLES / "mc3"))
    daemon.wait("pod/mc3", "condition=Ready")
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "both"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "mc3"},
            "ports": [
                {"name": "first", "port": 80, "targetPort": 80},
                {"name": "second", "port": 8080, "targetPort": 80},
            ],
        },
    }
    daemon.apply(json.dumps(manifest))
    ports = [port["nodePort"] for port in daemon.get("/api/v1/namespaces/default/services/both")["spec"]["ports"]]
    assert len(set(ports)) == 2

    def both() -> bool:
        try:
            return all("Hello" in fetch(f"http://127.0.0.1:{port}/") for port in ports)
        except OSError:
            return False

    wait_until(both, what="both node ports to answer")

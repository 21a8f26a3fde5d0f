"""Names of Services and Pods, asked by real programs in real pods through their own resolv.conf."""

from __future__ import annotations

import json
from typing import Any

from harness.daemon import Daemon, wait_until

PYTHON = "training/webapp"
SERVER = "import http.server as h; h.HTTPServer(('', 8000), h.SimpleHTTPRequestHandler).serve_forever()"


def pod(name: str, program: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": PYTHON, "command": ["python3", "-u", "-c", program]}
    metadata = {"name": name, "labels": {"app": name}}
    wanted = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": wanted}


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def run(daemon: Daemon, namespace: str, expression: str) -> str:
    """What a Python expression gives in the pod ``client``; a name that does not exist gives ``gaierror``."""
    program = f"import socket\ntry: print({expression})\nexcept OSError as e: print(type(e).__name__)"
    return daemon.kubectl("exec", "-n", namespace, "client", "--", "python3", "-c", program).stdout.strip()


def test_services_and_pods_are_found_by_name_and_names_follow_them(daemon: Daemon, namespace: str) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8000}]
    objects = [
        pod("server", SERVER, hostname="one", subdomain="headless"),
        pod("client", "import time; time.sleep(600)"),
        service("web", selector={"app": "server"}, ports=ports),
        service("headless", selector={"app": "server"}, ports=ports, clusterIP="None"),
    ]
    listing = {"apiVersion": "v1", "kind": "List", "items": objects}
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(listing))
    for name in ("server", "client"):
        daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    address = daemon.pod("server", namespace)["status"]["podIP"]
    cluster_ip = daemon.get(f"/api/v1/namespaces/{namespace}/services/web")["spec"]["clusterIP"]

    resolv = run(daemon, namespace, "open('/etc/resolv.conf').read()")
    dns = daemon.get("/api/v1/namespaces/kube-system/services/kube-dns")["spec"]["clusterIP"]
    assert f"nameserver {dns}" in resolv
    assert f"search {namespace}.svc.cluster.local svc.cluster.local cluster.local" in resolv
    assert "options ndots:5" in resolv

    assert run(daemon, namespace, "socket.gethostbyname('web')") == cluster_ip
    assert run(daemon, namespace, f"socket.gethostbyname('web.{namespace}')") == cluster_ip
    assert run(daemon, namespace, f"socket.gethostbyname('web.{namespace}.svc.cluster.local.')") == cluster_ip
    assert run(daemon, namespace, f"socket.gethostbyaddr('{cluster_ip}')[0]") == f"web.{namespace}.svc.cluster.local"
    wait_until(
        lambda: run(daemon, namespace, "socket.gethostbyname('headless')") == address, what="the endpoint's address"
    )
    own = f"one.headless.{namespace}.svc.cluster.local"
    assert run(daemon, namespace, f"socket.gethostbyname('{own}')") == address
    dashed = address.replace(".", "-")
    assert run(daemon, namespace, f"socket.gethostbyname('{dashed}.{namespace}.pod.cluster.local')") == address
    assert run(daemon, namespace, "socket.gethostbyname('nobody')") == "gaierror"
    assert (
        run(daemon, namespace, "socket.create_connection(('kubernetes.default.svc', 443), 5).getpeername()[1]") == "443"
    )
    fetch = "__import__('urllib.request').request.urlopen('http://web/', timeout=5).status"
    assert run(daemon, namespace, fetch) == "200"

    daemon.kubectl("delete", "-n", namespace, "pod", "server", "--timeout=60s")
    wait_until(
        lambda: run(daemon, namespace, "socket.gethostbyname('headless')") == "gaierror", what="the end of the name"
    )
    assert run(daemon, namespace, "socket.gethostbyname('web')") == cluster_ip

"""The pod that client libraries are tried on: an echo on its loopback that logs what it is told."""

from __future__ import annotations

from typing import Any

PORT = 7000
_ECHO = f"""
import os, signal, socket, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
def serve(connection):
    while data := connection.recv(65536):
        print("heard", data.decode().strip(), flush=True)
        connection.sendall(data)
    connection.close()
listener = socket.create_server(("127.0.0.1", {PORT}))
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
_CONNECT = f"import socket; socket.create_connection(('127.0.0.1', {PORT}))"


def build_client_pod(name: str) -> dict[str, Any]:
    """Ready when it echoes; labelled ``app: NAME``."""
    probe = {"exec": {"command": ["python3", "-c", _CONNECT]}, "periodSeconds": 1}
    container = {
        "name": "server",
        "image": "training/webapp",
        "command": ["python3", "-c", _ECHO],
        "env": [{"name": "WHO", "value": name}],
        "readinessProbe": probe,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
    }

"""What the words of ``podhost port-forward`` mean."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from podhost.cli.failure import HintedError
from podhost.cli.port_forward import Wish, explain, listen, parse_wish, resolve_pod_port, resolve_service_port

POD: dict[str, Any] = {
    "metadata": {"name": "web"},
    "spec": {
        "containers": [
            {"name": "a"},
            {"name": "b", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}]},
        ]
    },
}
SERVICE: dict[str, Any] = {
    "metadata": {"name": "web"},
    "spec": {"ports": [{"port": 8080, "name": "plain", "targetPort": "http"}, {"port": 443}]},
}


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("80", Wish(80, "80")),
        ("8080:80", Wish(8080, "80")),
        (":80", Wish(0, "80")),
        ("0:80", Wish(0, "80")),
        ("http", Wish(0, "http")),
        ("8080:http", Wish(8080, "http")),
        (":http", Wish(0, "http")),
    ],
)
def test_local_and_remote_port(text: str, wish: Wish) -> None:
    assert parse_wish(text) == wish


@pytest.mark.parametrize("text", ["", ":", "80:", "x:80", "70000:80", "1:2:3", "80:0", "80:65536", "-1:80"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(HintedError):
        parse_wish(text)


def test_names_of_ports() -> None:
    assert resolve_pod_port(POD, "http") == 80
    assert resolve_pod_port(POD, "9") == 9
    with pytest.raises(HintedError, match="cannot find the port 'https' of the pod 'web'") as caught:
        resolve_pod_port(POD, "https")
    assert caught.value.hints == ("its named ports: http",)


def test_port_of_a_service_leads_to_its_target() -> None:
    assert [resolve_service_port(SERVICE, POD, wanted) for wanted in ("8080", "plain", "443")] == [80, 80, 443]
    with pytest.raises(HintedError, match="cannot find the port '80' of the service 'web'") as caught:
        resolve_service_port(SERVICE, POD, "80")
    assert caught.value.hints == ("it has: 8080, 443",)


def test_listeners_share_one_port_and_say_when_it_is_taken() -> None:
    listeners = listen(None, 0)
    port = listeners[0].getsockname()[1]
    assert {listener.getsockname()[1] for listener in listeners} == {port}
    with pytest.raises(HintedError, match=f"cannot listen on 127.0.0.1 port {port}: address already in use"):
        listen(None, port)
    for listener in listeners:
        listener.close()
    with pytest.raises(HintedError, match=r"cannot listen on 192\.0\.2\.1 port 0"):
        listen(["192.0.2.1"], 0)
    for listener in listen(["127.0.0.1"], port):
        assert listener.family is socket.AF_INET
        listener.close()


def test_refused_connection_is_explained_and_other_texts_are_kept() -> None:
    text = "error forwarding port 9: dial tcp4 127.0.0.1:9: connect: connection refused"
    assert explain(text, 9) == "nobody listens on port 9 of the pod's loopback"
    assert explain("no such sandbox", 9) == "no such sandbox"

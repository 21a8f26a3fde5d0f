"""Requests, errors, pages, watches and streams against a server whose answers are written down."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from podhost.client import ApiClient, ApiStatusError, Endpoint, resource_path
from podhost.client.api_client import encode_query, status_of
from podhost.errors import DeniedError, UnavailableError


def answer(handler: BaseHTTPRequestHandler, document: object, code: int = 200) -> None:
    data = json.dumps(document).encode()
    handler.send_response(code)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"api_version": "v1", "plural": "pods"}, "/api/v1/pods"),
        ({"api_version": "v1", "plural": "pods", "namespace": "a"}, "/api/v1/namespaces/a/pods"),
        (
            {"api_version": "apps/v1", "plural": "deployments", "namespace": "a", "name": "b", "subresource": "status"},
            "/apis/apps/v1/namespaces/a/deployments/b/status",
        ),
        ({"api_version": "v1", "plural": "pods", "name": "a/b"}, "/api/v1/pods/a%2Fb"),
    ],
)
def test_paths_are_kubernetes_paths(arguments: dict[str, str], expected: str) -> None:
    assert resource_path(**arguments) == expected


def test_query_leaves_none_out_and_writes_booleans_as_json_does() -> None:
    assert encode_query({"a": True, "b": None, "c": 3, "d": "x y"}) == "?a=true&c=3&d=x+y"
    assert encode_query({}) == ""


def test_request_sends_json_and_reads_json(fake_server: Any) -> None:
    fake_server.handler = lambda request, handler: answer(handler, {"got": request.body})
    assert fake_server.client.create("/api/v1/x", {"a": 1}, dryRun="All") == {"got": {"a": 1}}
    request = fake_server.requests[0]
    assert (request.method, request.path) == ("POST", "/api/v1/x?dryRun=All")
    assert request.headers["Content-Type"] == "application/json"


def test_warnings_of_the_server_reach_whoever_asks_for_them(fake_server: Any) -> None:
    def warn(request: Any, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Warning", '299 - "field \\"x\\" is not honoured"')
        handler.send_header("Warning", '110 - "a cache\'s, not ours"')
        handler.send_header("Warning", '299 - "second"')
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    fake_server.handler = warn
    heard: list[str] = []
    fake_server.client.get("/api/v1/x")
    fake_server.client.on_warning = heard.append
    fake_server.client.get("/api/v1/x")
    assert heard == ['field "x" is not honoured', "second"]


def test_status_becomes_an_error(fake_server: Any) -> None:
    status = {"kind": "Status", "code": 404, "reason": "NotFound", "message": 'pods "x" not found'}
    fake_server.handler = lambda request, handler: answer(handler, status, 404)
    with pytest.raises(ApiStatusError, match='pods "x" not found') as caught:
        fake_server.client.get("/api/v1/pods/x")
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")


def test_answer_that_is_no_status_becomes_one() -> None:
    assert status_of(502, "Bad Gateway", b"<html>")["message"] == "<html>"
    assert status_of(500, "Internal Server Error", b"")["message"] == "Internal Server Error"


def test_pages_are_put_together(fake_server: Any) -> None:
    def serve(request: Any, handler: BaseHTTPRequestHandler) -> None:
        last = "continue=next" in request.path
        metadata = {"resourceVersion": "7"} if last else {"resourceVersion": "7", "continue": "next"}
        answer(handler, {"items": [int(last)], "metadata": metadata})

    fake_server.handler = serve
    assert fake_server.client.list("/api/v1/pods", labelSelector="a=b")["items"] == [0, 1]
    assert "labelSelector=a%3Db" in fake_server.requests[1].path


def test_connection_is_kept_and_a_closed_one_is_replaced(fake_server: Any) -> None:
    def serve(request: Any, handler: BaseHTTPRequestHandler) -> None:
        answer(handler, {})
        handler.close_connection = request.path == "/last"

    fake_server.handler = serve
    client = fake_server.client
    for path in ("/a", "/last", "/b"):
        client.get(path)
    assert [request.path for request in fake_server.requests] == ["/a", "/last", "/b"]


def send_lines(handler: BaseHTTPRequestHandler, lines: list[bytes]) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for line in lines:
        handler.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def test_watch_gives_events_until_the_stream_ends(fake_server: Any) -> None:
    events = [{"type": "ADDED", "object": {"a": 1}}, {"type": "DELETED", "object": {"a": 1}}]
    data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    fake_server.handler = lambda request, handler: send_lines(handler, [data[:10], data[10:]])
    assert list(fake_server.client.watch("/api/v1/pods", resourceVersion="5")) == events
    assert fake_server.requests[0].path == "/api/v1/pods?resourceVersion=5&watch=true"


def test_error_event_of_a_watch_is_raised(fake_server: Any) -> None:
    event = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
    fake_server.handler = lambda request, handler: send_lines(handler, [json.dumps(event).encode() + b"\n"])
    with pytest.raises(ApiStatusError) as caught:
        list(fake_server.client.watch("/api/v1/pods"))
    assert caught.value.code == 410


def test_log_lines_may_lack_their_last_line_end(fake_server: Any) -> None:
    fake_server.handler = lambda request, handler: send_lines(handler, [b"one\ntw", b"o\nthree"])
    lines = fake_server.client.stream_log("default", "mc1", "1st", tailLines=3)
    assert list(lines) == [b"one", b"two", b"three"]
    assert fake_server.requests[0].path == "/api/v1/namespaces/default/pods/mc1/log?container=1st&tailLines=3"


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot reach the podhost daemon"):
        ApiClient(Endpoint(socket_path=tmp_path / "none.sock")).get("/")


def test_refused_socket_is_denied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(self: object, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(DeniedError, match="permission denied"):
        ApiClient(Endpoint(socket_path=tmp_path / "s")).get("/")

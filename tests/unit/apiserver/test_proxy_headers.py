"""Headers on their way to a pod and back."""

from __future__ import annotations

import pytest

from podhost.apiserver.proxy_headers import (
    build_request_headers,
    build_response_headers,
    build_upgrade_headers,
    rewrite_url,
)

PREFIX = "/api/v1/namespaces/n/pods/web/proxy"


def test_what_belongs_to_one_connection_and_what_is_ours_stays_here() -> None:
    sent = [
        ("Host", "localhost:6443"),
        ("Authorization", "Bearer secret"),
        ("Impersonate-User", "root"),
        ("Connection", "keep-alive, X-Private"),
        ("X-Private", "1"),
        ("Keep-Alive", "5"),
        ("Transfer-Encoding", "chunked"),
        ("TE", "gzip, trailers"),
        ("Expect", "100-continue"),
        ("Upgrade", "h2c"),
        ("Cookie", "a=b"),
        ("X-Many", "1"),
        ("X-Many", "2"),
    ]
    assert build_request_headers(sent, client_ip="", uri="/u") == [
        ("Host", "localhost:6443"),
        ("TE", "trailers"),
        ("Cookie", "a=b"),
        ("X-Many", "1"),
        ("X-Many", "2"),
        ("X-Forwarded-Uri", "/u"),
    ]


def test_client_is_added_to_those_before_it() -> None:
    sent = [("X-Forwarded-For", "1.1.1.1"), ("A", "b")]
    assert build_request_headers(sent, client_ip="10.0.0.1", uri="/u") == [
        ("A", "b"),
        ("X-Forwarded-For", "1.1.1.1, 10.0.0.1"),
        ("X-Forwarded-Uri", "/u"),
    ]


def test_upgrade_keeps_what_it_needs() -> None:
    sent = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "k"), ("Authorization", "x")]
    assert build_upgrade_headers(sent, client_ip="::1") == [*sent[:3], ("X-Forwarded-For", "::1")]


def test_answer_loses_cors_and_hop_by_hop_headers_and_its_location_is_rewritten() -> None:
    answered = [
        ("Location", "/next"),
        ("Access-Control-Allow-Origin", "*"),
        ("Connection", "close"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    ]
    assert build_response_headers(answered, prefix=PREFIX, source="10.0.0.5:80", host="localhost") == [
        ("Location", f"{PREFIX}/next"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    ]


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("/a/b/?q=1#f", f"{PREFIX}/a/b/?q=1#f"),
        ("http://10.0.0.5:80/a", f"{PREFIX}/a"),
        ("http://localhost:6443/a", f"http://localhost:6443{PREFIX}/a"),
        (f"{PREFIX}/a", f"{PREFIX}/a"),
        ("a/b", "a/b"),
        ("http://elsewhere.example/a", "http://elsewhere.example/a"),
        ("http://[bad/a", "http://[bad/a"),
    ],
)
def test_urls_of_the_pod_lead_through_the_proxy(url: str, wanted: str) -> None:
    assert rewrite_url(url, prefix=PREFIX, source="10.0.0.5:80", host="localhost:6443") == wanted

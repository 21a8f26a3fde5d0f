"""Pure parts of the proxy subresources."""

from __future__ import annotations

import pytest

from podhost.apiserver.proxy_handlers import split_path


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/api/v1/namespaces/n/pods/p/proxy", ("/api/v1/namespaces/n/pods/p/proxy", "")),
        ("/api/v1/namespaces/n/pods/p/proxy/", ("/api/v1/namespaces/n/pods/p/proxy", "/")),
        ("/api/v1/namespaces/n/pods/p/proxy/a%2Fb//c/", ("/api/v1/namespaces/n/pods/p/proxy", "/a%2Fb//c/")),
        (
            "/api/v1/namespaces/proxy/services/proxy/proxy/proxy/x",
            ("/api/v1/namespaces/proxy/services/proxy/proxy", "/proxy/x"),
        ),
        ("//api/v1//namespaces/n/pods/p/proxy//x", ("//api/v1//namespaces/n/pods/p/proxy", "//x")),
    ],
)
def test_path_is_cut_behind_the_subresource(path: str, parts: tuple[str, str]) -> None:
    assert split_path(path) == parts

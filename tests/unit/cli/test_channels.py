"""channels, ports and diagnose, with the resource as it comes from the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from podhost.cli.channels import cut_lines
from podhost.cli.main import main
from podhost.client import ApiClient, ApiStatusError
from podhost.errors import PodhostError

DOCUMENT: dict[str, Any] = {
    "apiVersion": "podhost.dev/v1alpha1",
    "kind": "PodChannels",
    "metadata": {"name": "mc3", "namespace": "default", "uid": "u"},
    "observedAt": "2026-01-01T00:00:00Z",
    "containers": [{"name": "webapp", "state": "running", "pid": 10}],
    "listeners": [
        {
            "protocol": "tcp",
            "address": "127.0.0.1",
            "port": 5000,
            "container": "webapp",
            "pid": 10,
            "process": "python3",
        }
    ],
    "channels": [],
    "problems": [
        {
            "code": "service-target-on-loopback",
            "severity": "error",
            "message": "Service default/web leads to port 5000/TCP, which is served on the loopback only",
            "evidence": ["127.0.0.1:5000"],
            "suggestion": "listen on 0.0.0.0",
        }
    ],
}


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(json.dumps(DOCUMENT))

    def get(_client: ApiClient, path: str, **_query: object) -> dict[str, Any]:
        assert path == "/apis/podhost.dev/v1alpha1/namespaces/default/podchannels/mc3"
        if "error" in answer:
            raise ApiStatusError(answer["error"])
        return answer

    monkeypatch.setattr(ApiClient, "get", get)
    return answer


def test_a_pod_is_drawn(document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["channels", "pod/mc3", "--width", "60"]) == 0
    out = capsys.readouterr().out
    assert "on tcp 127.0.0.1:5000" in out
    assert "✗ Service default/web leads to port 5000/TCP" in out
    assert "\x1b" not in out


def test_the_resource_and_pictures_can_be_had(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["channels", "mc3", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == document
    assert main(["channels", "mc3", "-o", "yaml"]) == 0
    assert "kind: PodChannels" in capsys.readouterr().out
    assert main(["channels", "mc3", "--dot"]) == 0
    assert capsys.readouterr().out.startswith("digraph")
    assert main(["channels", "mc3", "--svg", str(tmp_path / "x.svg")]) == 0
    assert (tmp_path / "x.svg").read_text().startswith("<svg")
    assert main(["channels", "mc3", "--ascii"]) == 0
    assert capsys.readouterr().out.isascii()


def test_ports_is_a_table_with_the_problems_of_ports(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ports", "mc3"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split() == [
        *("webapp", "TCP", "127.0.0.1", "5000", "python3", "10", "no", "<none>")
    ]
    assert "served on the loopback only" in captured.err


def test_diagnose_tells_a_script_by_its_exit_code(document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "mc3"]) == 1
    assert "→ listen on 0.0.0.0" in capsys.readouterr().out
    assert main(["diagnose", "mc3", "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["code"] == "service-target-on-loopback"
    document["problems"] = []
    assert main(["diagnose", "mc3"]) == 0
    assert "nothing is wrong" in capsys.readouterr().err


def test_another_server_is_said_not_to_see_channels(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    document["error"] = {"code": 404, "message": "the server could not find the requested resource", "details": {}}
    assert main(["channels", "mc3"]) == 1
    assert "only podhost" in capsys.readouterr().err
    document["error"] = {"code": 404, "message": 'podchannels "mc3" not found', "details": {"name": "mc3"}}
    assert main(["channels", "mc3"]) == 1
    assert 'podchannels "mc3" not found' in capsys.readouterr().err


def test_a_pod_that_goes_ends_the_watch(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[float] = []

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            document["error"] = {"code": 404, "message": "gone", "details": {"name": "mc3"}}

    monkeypatch.setattr("podhost.cli.channels.time.sleep", sleep)
    assert main(["channels", "mc3", "--watch", "--interval", "2"]) == 1
    assert rounds == [2, 2]
    assert issubclass(ApiStatusError, PodhostError)


def test_a_watched_drawing_longer_than_the_screen_keeps_its_beginning() -> None:
    text = "\n".join(map(str, range(10)))
    assert cut_lines(text, 10, "p") == text
    assert cut_lines(text, 4, "p") == "0\n1\n2\n... 7 more lines: podhost channels p"
    assert cut_lines(text, 0, "p").startswith("0\n...")

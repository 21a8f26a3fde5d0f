"""podhost top: its table at several widths, its order, and the ways in which a server answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podhost.cli.main import main
from podhost.cli.top_view import (
    View,
    build_rows,
    cut_lines,
    draw_machine,
    draw_table,
    format_binary,
    format_cores,
    sort_groups,
)
from podhost.client import ApiClient, ApiStatusError


def stats(name: str, *containers: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "window": "1s", "containers": list(containers)}


def container(name: str, cpu: str, memory: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "usage": {"cpu": cpu, "memory": memory}, **more}


IO = {"io": {"readBytesPerSecond": 2048, "writtenBytesPerSecond": 0}, "pids": 3}
WEB = stats(
    "web", container("front", "250m", "90Mi", **IO), container("a-long-name-of-a-sidecar", "1500000n", "10Mi", **IO)
)
POD = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"containers": [{"name": "front", "resources": {"limits": {"cpu": "500m", "memory": "100Mi"}}}]},
}


def test_containers_stand_below_their_pod_and_a_limit_shows_how_much_of_it_is_used() -> None:
    lines = draw_table(build_rows(WEB, POD, containers=True), View(width=100))
    assert lines == [
        "POD                           CPU   OF LIMIT   MEMORY   OF LIMIT   READ/s   WRITE/s   PIDS",
        "web                          252m          -    100Mi          -    4.0Ki         0      6",
        "  front                      250m        50%   90.0Mi        90%    2.0Ki         0      3",
        "  a-long-name-of-a-sidecar   1.5m          -   10.0Mi          -    2.0Ki         0      3",
    ]


@pytest.mark.parametrize("width", [70, 80, 200])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    rows = build_rows(stats("w" * 60, container("c" * 63, "1", "1Gi", **IO)), None, containers=True)
    lines = draw_table(rows, View(width=width, namespaces=True, live=True))
    assert max(map(len, lines)) <= width
    assert ("…" in lines[1]) == (width < 100)


def test_without_io_and_processes_there_are_no_columns_for_them() -> None:
    (header, line) = draw_table(
        build_rows(stats("web", container("c", "2", "1Gi")), None, containers=False), View(width=80)
    )
    assert (header.split(), line.split()) == (["POD", "CPU", "MEMORY"], ["web", "2.00", "1.0Gi"])


def test_bars_and_colours_are_for_live_screens_with_room() -> None:
    rows = build_rows(WEB, POD, containers=True)
    lines = draw_table(rows, View(width=200, live=True, colour=True, ascii=True))
    assert "#########.  90%" in lines[2]
    assert lines[2].startswith("\x1b[31m"), "nine tenths of a limit are red"
    assert lines[0].startswith("\x1b[1m")


def test_the_hungriest_pod_comes_first_and_names_have_their_order() -> None:
    groups = [
        build_rows(stats("a", container("c", "1m", "5Mi")), None, containers=True),
        build_rows(stats("b", container("x", "1m", "1Mi"), container("y", "5m", "1Mi")), None, containers=True),
    ]
    by_cpu = [(row.pod, row.container) for group in sort_groups(groups, "cpu") for row in group]
    assert by_cpu == [("b", ""), ("b", "y"), ("b", "x"), ("a", ""), ("a", "c")]
    assert [group[0].pod for group in sort_groups(groups, "memory")] == ["a", "b"]
    assert [group[0].pod for group in sort_groups(groups, "name")] == ["a", "b"]


def test_numbers_are_short() -> None:
    assert [format_cores(each) for each in (None, 0, 0.0002, 0.0234, 1.524)] == ["-", "0m", "0.2m", "23m", "1.52"]
    assert [format_binary(each) for each in (None, 0, 512, 1536, 200 << 20, 3 << 40)] == [
        "-", "0", "512", "1.5Ki", "200Mi", "3.0Ti",
    ]  # fmt: skip


def test_the_machine_is_one_line_and_a_long_table_says_what_it_hides() -> None:
    node = {"metadata": {"name": "vm"}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}}
    metrics = {"usage": {"cpu": "500m", "memory": "1Gi"}}
    assert draw_machine(node, metrics) == "node vm   cpu 500m of 2 (25%)   memory 1.0Gi of 4.0Gi (25%)"
    assert cut_lines(["a", "b", "c", "d"], 3) == ["a", "b", "… 2 more"]


class Server:
    """Answers by path; what it does not know is a 404 without details, as of any API server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
        self.answers = answers
        monkeypatch.setattr(ApiClient, "get", self.get)

    def get(self, path: str, **_query: object) -> Any:
        for words, answer in self.answers.items():
            if path.partition("?")[0].endswith("/" + words.replace("__", ".").replace("_", "/")):
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise ApiStatusError({"message": "the server could not find the requested resource", "code": 404})


def test_any_cluster_with_metrics_will_do_and_what_it_lacks_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = {"items": [stats("web", container("c", "10m", "1Mi"))]}
    Server(
        monkeypatch, metrics__k8s__io_v1beta1_namespaces_default_pods=listing, v1_namespaces_default_pods={"items": []}
    )
    assert main(["top"]) == 0
    told = capsys.readouterr()
    assert told.out.split("\n")[1].split() == ["web", "10m", "1.0Mi"]
    assert "only podhost's own server counts them" in told.err


def test_a_cluster_without_metrics_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Server(monkeypatch)
    assert main(["top"]) == 1
    assert "install metrics-server" in capsys.readouterr().err


def test_json_is_what_the_server_said_and_an_idle_pod_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = ApiStatusError({"message": "x", "code": 404, "details": {"kind": "podstats", "name": "default/idle"}})
    Server(monkeypatch, podstats={"items": [WEB]}, podstats_idle=idle)
    assert main(["top", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == [WEB]
    assert main(["top", "idle"]) == 0
    assert "pod 'idle' has no running container" in capsys.readouterr().err

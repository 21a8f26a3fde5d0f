"""``podhost check``: formats, sources, exit codes."""

from __future__ import annotations

import http.server
import io
import json
import threading
from pathlib import Path

import pytest

from podhost.cli.main import main

GOOD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: c\n    image: i\n"
BAD = GOOD.replace("image:", "imag:")
WARNED = GOOD.replace("name: a", "name: a\n  annotations: {on: x}", 1)


@pytest.mark.parametrize(
    ("text", "flags", "code"),
    [(GOOD, [], 0), (BAD, [], 1), (WARNED, [], 0), (WARNED, ["--strict"], 1), ("", [], 0)],
)
def test_exit_code_says_whether_there_are_faults(tmp_path: Path, text: str, flags: list[str], code: int) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert main(["check", *flags, str(tmp_path / "a.yaml")]) == code


def test_text_shows_the_line_and_sums_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(BAD)
    assert main(["check", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{path}:8:5: error: unknown field `imag` in `spec.containers[0]`\n")
    assert "    8 |     imag: i\n      |     ^^^^\n  → `imag`: did you mean `image`?\n" in out
    assert err == "✗ one error\n"


def test_summary_names_the_command_that_mends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD.replace("    image", "   image"))
    main(["check", str(path)])
    assert capsys.readouterr().err == f"✗ one error; `podhost fix {path}` mends it\n"


def test_editors_ci_and_programs_have_their_own_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(BAD)
    main(["check", "-o", "line", str(path)])
    assert capsys.readouterr().out == (
        f"{path}:8:5: error: unknown field `imag` in `spec.containers[0]`"
        " (`imag`: did you mean `image`?) [unknown-field]\n"
    )
    main(["check", "-o", "github", str(path)])
    assert capsys.readouterr().out == (
        f"::error file={path},line=8,col=5,endColumn=9,title=podhost unknown-field::"
        "unknown field `imag` in `spec.containers[0]`%0A`imag`: did you mean `image`?\n"
    )
    main(["check", "-o", "json", str(path)])
    told = json.loads(capsys.readouterr().out)
    assert told["objects"] == [{"file": str(path), "line": 1, "kind": "Pod", "name": "a"}]
    assert [(fault["line"], fault["column"], fault["code"]) for fault in told["faults"]] == [(8, 5, "unknown-field")]


def test_directories_and_stdin_are_checked_and_one_bad_source_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(GOOD + "---\n" + BAD)
    (tmp_path / "b.json").write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labls": {}}}')
    (tmp_path / "c.yaml").write_bytes(b"a: \xff\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(BAD))
    assert main(["check", "-o", "line", "/nonexistent.yaml", str(tmp_path), "-"]) == 2
    out, err = capsys.readouterr()
    places = [line.split(" error")[0].rsplit("/", 1)[-1] for line in out.splitlines()]
    assert places == ["a.yaml:17:5:", "b.json:1:2:", "b.json:1:63:", "stdin:8:5:"]
    assert "cannot read '/nonexistent.yaml': no such file or directory" in err
    assert "line 1 is not UTF-8 text" in err


def test_documents_of_all_files_of_a_directory_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(GOOD + "---\n" + BAD)
    (tmp_path / "b.json").write_text(
        '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "labls": {}}}'
    )
    (tmp_path / "c.txt").write_text("no manifest")
    assert main(["check", "-o", "line", str(tmp_path)]) == 1
    places = [line.split(" error")[0].rsplit("/", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert places == ["a.yaml:17:5:", "b.json:1:69:"]


def test_urls_are_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = BAD.encode()
            self.send_response(200 if self.path == "/pod.yaml" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            assert main(["check", "-o", "line", f"{url}/pod.yaml"]) == 1
            assert capsys.readouterr().out.startswith(f"{url}/pod.yaml:8:5: error: unknown field")
            assert main(["check", f"{url}/other"]) == 2
            assert "HTTP 404" in capsys.readouterr().err
        finally:
            server.shutdown()
            thread.join()


def test_control_characters_of_a_manifest_never_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD.replace("image: i", 'image: "\\e[31m"\n    "b\\e[2J": 1\n    x: "\x9b1m"'))
    main(["check", str(path)])
    out = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in out)


def test_up_refuses_faults_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD.replace("    image", "   image"))
    assert main(["up", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"{path}:8:4: error: the indentation of `image` fits nothing above it\n")
    assert err.endswith(f"podhost: one fault; nothing was changed\n  → podhost fix {path} mends it\n")


def test_workloads_are_refused_by_check_as_by_up_but_for_another_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n")
    for command in ("check", "up"):
        assert main([command, str(path)]) == 1
        assert "has no workload kinds (Deployment, StatefulSet" in "".join(capsys.readouterr())
    assert main(["--context", "prod", "check", str(path)]) == 0
    assert capsys.readouterr().err == "✓ one note\n"


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
@pytest.mark.parametrize("command", ["check", "up", "fix"])
def test_kustomization_is_to_be_built_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    (tmp_path / name).write_text("resources: [a.yaml]\n")
    (tmp_path / "a.yaml").write_text(GOOD)
    for target in (tmp_path, tmp_path / name):
        assert main([command, str(target)]) == (2 if command == "check" else 1)
        err = capsys.readouterr().err
        assert err.startswith(f"podhost: cannot use '{target}': {name} makes it a kustomization, ")
        assert f"  → kubectl kustomize {tmp_path} | podhost up -\n" in err
        assert f"kubectl apply -k {tmp_path}\n" in err

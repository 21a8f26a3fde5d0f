"""Faults of content at their lines: fields, types, values, and what an API server says."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.manifests.render import render_fault
from podhost.manifests.report import check_text, locate_in_object

GOOD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: a
    image: nginx
    volumeMounts:
    - name: data
      mountPath: /data
    env:
    - name: N
      value: "1"
  restartPolicy: Never
  volumes:
  - name: data
    emptyDir: {}
"""


@pytest.mark.parametrize(
    ("old", "new", "place", "code", "words"),
    [
        ("volumeMounts:", "volumesMounts:", "9:5", "unknown-field", "`volumesMounts`: did you mean `volumeMounts`?"),
        ("image:", "Image:", "8:5", "unknown-field", "did you mean `image`?"),
        ("image: nginx", "image: nginx\n    hostNetwork: true", "9:5", "unknown-field", "is a field of a PodSpec"),
        ('value: "1"', "value: 1", "14:14", "type", 'put it in quotes: `"1"`'),
        ('value: "1"', "value: yes", "14:14", "type", 'put it in quotes: `"yes"`'),
        ("emptyDir: {}", "emptyDir: []", "18:5", "type", "leave out the `- `"),
        ("image: nginx", "image: nginx\n    command: /bin/sh", "9:14", "type", '`command: ["/bin/sh"]`'),
        ("image: nginx", "image: nginx\n    tty: 'true'", "9:10", "type", "without quotes: `true`"),
        ("emptyDir: {}", "emptyDir: {sizeLimit: 1Mb}", "18:27", "type", "`1Mb` is none"),
        ("image: nginx", "image: nginx\n    image: debian", "9:5", "duplicate-key", "set already in line 8"),
        ("restartPolicy: Never", "restartPolicy: never", "15:18", "invalid", "did you mean `Never`?"),
        ("    - name: data", "    - name: date", "10:13", "invalid", "did you mean the volume `data`?"),
        ("name: web", "name: Web_1", "4:9", "invalid", "RFC 1123"),
        ("    image: nginx\n", "", "7:5", "invalid", "add `image:` to `spec.containers[0]` (`a`)"),
        ("kind: Pod", "kind: pod", "2:7", "invalid", "`pod`: did you mean `Pod`?"),
        ("kind: Pod", "kind: Service", "6:3", "unknown-field", "unknown field `containers`"),
        ("apiVersion: v1", "apiVersion: v2", "1:13", "invalid", "did you mean `apiVersion: v1`?"),
        ("apiVersion:", "apiversion:", "1:1", "invalid", "did you mean `apiVersion`?"),
        ("kind: Pod\n", "", "1:1", "invalid", "`kind` is not set"),
        # Words and shapes of other tools.
        ("image: nginx", "image: nginx\n    command: sleep 9", "9:14", "type", '`command: ["sleep", "9"]`'),
        ("image: nginx", "image: nginx\n    args: a && b", "9:11", "type", '`args: ["sh", "-c", "a && b"]`'),
        ("image: nginx", "image: nginx\n    args: [a: 1]", "9:12", "type", 'put it in quotes: `"a: 1"`'),
        ("image: nginx", "image: nginx\n    ports:\n    - port: 80", "10:7", "unknown-field", "mean `containerPort`?"),
        ("image: nginx", "image: nginx\n    livenessProbe: {http: {}}", "9:21", "unknown-field", "mean `httpGet`?"),
        (
            "    - name: N\n      value:",
            "      DEBUG:",
            "12:5",
            "type",
            '`- name: DEBUG` and beneath it `  value: "1"`',
        ),
        ("emptyDir: {}", "hostPath: /srv", "18:15", "type", "`hostPath: {path: /srv}`"),
        ("emptyDir: {}", "emptyDir: {sizeLimit: 64MB}", "18:27", "type", "did you mean `64M` or `64Mi`?"),
        ("emptyDir: {}", "emptyDir: {sizeLimit: 2 gib}", "18:27", "type", "did you mean `2Gi`?"),
        ("name: web", "name: My_Web", "4:9", "invalid", "for example `my-web`"),
        ("name: web", "name: web\n  labels: {a: b c}", "5:15", "invalid", "for example `b-c`"),
    ],
)
def test_fault_of_content_is_told_at_its_place(old: str, new: str, place: str, code: str, words: str) -> None:
    assert GOOD.count(old) == 1
    fault = check_text(GOOD.replace(old, new)).faults[0]
    assert (f"{fault.line}:{fault.column}", fault.code) == (place, code), fault
    assert words in f"{fault.message} {fault.meant}"


def test_misspelt_field_is_the_only_fault() -> None:
    for old, new in (("containers:", "container:"), ("image:", "imag:"), ("volumes:", "volume:")):
        assert [f.code for f in check_text(GOOD.replace(old, new)).faults] == ["unknown-field"], new


def test_unknown_resource_is_told_once_though_limits_are_requests_too() -> None:
    text = GOOD.replace("image: nginx", "image: nginx\n    resources: {limits: {cpus: 1}}")
    (fault,) = check_text(text).faults
    assert (fault.line, fault.meant) == (9, "did you mean `cpu`?")


def test_key_that_is_unknown_is_not_pushed_below_another_that_is_unknown() -> None:
    text = GOOD.replace(
        "image: nginx", "image: nginx\n    livenessProbe:\n      http:\n        port: 80\n      intervalSeconds: 5"
    )
    assert [fault.meant for fault in check_text(text).faults] == [
        "`http`: did you mean `httpGet`?",
        "`intervalSeconds`: did you mean `periodSeconds`?",
    ]


def test_warning_that_follows_from_a_misspelt_field_is_not_told() -> None:
    text = GOOD.replace("image: nginx", "image: nginx\n    ports:\n    - port: 80\n    - port: 81")
    assert [fault.code for fault in check_text(text).faults] == ["unknown-field", "unknown-field"]


def test_compose_file_is_told_as_such() -> None:
    (fault,) = check_text("version: '3'\nservices:\n  web:\n    image: nginx\n").faults
    assert (fault.line, fault.message) == (2, "this is a file for docker compose, and no manifest of Kubernetes")


def test_unknown_kind_is_a_note_and_no_error() -> None:
    report = check_text("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\nspec:\n  x: 1\n")
    assert [(fault.severity, fault.line) for fault in report.faults] == [("note", 2)]
    assert len(report.objects) == 1


@pytest.mark.parametrize(
    ("version", "kind", "words", "meant"),
    [
        ("apps/v1", "Deployment", "podhost has no Deployment: it runs pods straight", "write its pod as a manifest"),
        (
            "batch/v1",
            "CronJob",
            "podhost has no CronJob: it runs pods straight",
            "on a cluster this file works as it is",
        ),
        ("nobody.example/v1", "X", "there is no kind `X` in `nobody.example/v1`", "a cluster that has it takes it"),
        ("apps/v1", "pod", "there is no kind `pod` in `apps/v1`", "did you mean `kind: Pod` of `apiVersion: v1`?"),
        ("apps/v1", "Pod", "there is no kind `Pod` in `apps/v1`", "did you mean `apiVersion: v1`?"),
    ],
)
def test_kind_that_podhost_lacks_is_an_error_where_podhost_itself_is_to_run_it(
    version: str, kind: str, words: str, meant: str
) -> None:
    text = GOOD.replace("apiVersion: v1", f"apiVersion: {version}").replace("kind: Pod", f"kind: {kind}")
    (fault,) = check_text(text, on_podhost=True).faults
    assert fault.severity == "error"
    assert words in fault.message
    assert meant in fault.meant


def test_kinds_that_only_ask_are_no_error_anywhere() -> None:
    text = "apiVersion: authorization.k8s.io/v1\nkind: SelfSubjectAccessReview\nmetadata:\n  name: a\n"
    assert [fault.severity for fault in check_text(text, on_podhost=True).faults] == ["note"]


def test_items_of_a_list_are_checked_and_found() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec: {contaners: []}\n"
    report = check_text(text)
    assert [(fault.line, fault.column) for fault in report.faults] == [(7, 10)]
    assert [found.document["kind"] for found in report.objects] == ["Pod"]


def test_word_that_yaml_reads_as_a_boolean_is_warned_about_as_a_key() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  y: 'a'\n  on: 'b'\n  'no': 'c'\n"
    report = check_text(text)
    assert [(f.line, f.severity, f.code) for f in report.faults] == [
        (6, "warning", "yaml-1.1"),
        (7, "warning", "yaml-1.1"),
    ]
    assert report.objects[0].document["data"] == {"y": "a", "true": "b", "no": "c"}


def test_times_dates_and_addresses_stay_text() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: 12:30:45\n  b: 2026-01-31\n  c: 0o17:1\n"
    report = check_text(text)
    assert report.faults == []
    assert report.objects[0].document["data"] == {"a": "12:30:45", "b": "2026-01-31", "c": "0o17:1"}


def test_aliases_and_merge_keys_are_followed() -> None:
    text = GOOD.replace("emptyDir: {}", "<<: &x\n      emptyDir: {}").replace('value: "1"', "value: &v abc")
    report = check_text(text)
    assert report.faults == []
    assert report.objects[0].document["spec"]["volumes"] == [{"name": "data", "emptyDir": {}}]


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [*x]\n",
        "[" * 500 + "]" * 500,
        "a: *nobody\n",
        "\x00",
        "? [a]\n: b\n",
        "!!python/name:x\n",
        "{a: 1",
        "\t",
        "'",
        "a\u2028b\u0085: ]\n",
    ],
)
def test_nonsense_is_a_fault_and_no_traceback(text: str) -> None:
    report = check_text(text)
    assert any(fault.severity == "error" for fault in report.faults) or not text.strip()
    assert report.objects == []


CAUSES: dict[str, Any] = {
    "reason": "Invalid",
    "message": 'Pod "web" is invalid: …',
    "details": {
        "causes": [
            {
                "reason": "FieldValueNotSupported",
                "field": "spec.restartPolicy",
                "message": 'Unsupported value: "Nver": supported values: "Always", "OnFailure", "Never"',
            },
            {
                "reason": "FieldValueRequired",
                "field": "spec.containers[0].ports[0].containerPort",
                "message": "Required value",
            },
        ]
    },
}


@pytest.mark.parametrize(
    ("status", "places", "words"),
    [
        (CAUSES, [(6, 18), (15, 18)], "did you mean `Never`?"),
        (
            {
                "message": 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].imag", duplicate field "spec.volumes"'
            },
            [(7, 5), (16, 3)],
            "`imag`: did you mean `image`?",
        ),
        (
            {
                "message": 'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field EnvVar.spec.containers.env.value of type int32'
            },
            [(14, 14)],
            "`value` must be a whole number",
        ),
        ({"message": "the server is not in the mood"}, [], ""),
    ],
)
def test_server_errors_are_found_in_the_text(status: dict[str, Any], places: list[tuple[int, int]], words: str) -> None:
    found = check_text(GOOD).objects[0]
    faults = locate_in_object(found.document, found.node, found.first_line, status)
    if status is CAUSES:
        places = [(7, 5), (15, 18)]
    assert [(fault.line, fault.column) for fault in faults] == places
    assert words in "".join(f"{fault.message} {fault.meant}" for fault in faults)


def test_node_port_out_of_range_comes_with_the_flag_of_the_range() -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - nodePort: 30080\n"
    body = "Invalid value: 30080: provided port is not in the valid range. The range of valid ports is 22000-22999"
    status = {"details": {"causes": [{"field": "spec.ports[0].nodePort", "message": body}]}}
    (found,) = check_text(text).objects
    (fault,) = locate_in_object(found.document, found.node, found.first_line, status)
    assert (fault.line, "`--node-ports` of `podhost serve`" in fault.meant) == (6, True)


def test_server_errors_in_a_later_document_have_the_lines_of_the_file() -> None:
    found = check_text(GOOD + "---\n" + GOOD).objects[1]
    faults = locate_in_object(found.document, found.node, found.first_line, CAUSES)
    assert [fault.line for fault in faults] == [26, 34]


def _told(text: str) -> list[str]:
    return [f"{fault.line}:{fault.column} {fault.message}" for fault in check_text(text).faults]


@pytest.mark.parametrize(
    ("text", "place_and_words"),
    [
        (GOOD.replace("metadata:\n  name: web", "metadata: &m\n  name: web\n  labels: {a: *m}"),
         ["3:11 an alias within this value refers to the value itself"]),
        ("a: &a [x, x]\n" + "".join(f"{c}: &{c} [{f'*{b},' * 9}*{b}]\n" for b, c in zip("abcdefg", "bcdefgh", strict=True)),
         ["1:11 these are more than 200,000 values, counted with what aliases repeat"]),
        (GOOD.replace("image: nginx", "image: *nginx"), ["8:12 found undefined alias: a value that begins with `*` is an alias"]),
        ("".join(" " * depth + "k:\n" for depth in range(150)), ["102:102 this is nested deeper than 100 levels"]),
        ("".join(" " * depth + "k:\n" for depth in range(1500)), ["1000:1001 this is nested deeper than 100 levels"]),
        (GOOD.replace("web", "中文字段\n  标签: 中文\n  a\x1bb: c"), ["6:4 this is not YAML: character #x001b cannot be in YAML"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_once_at_its_place(text: str, place_and_words: list[str]) -> None:
    assert _told(text) == place_and_words


@pytest.mark.parametrize("anchor", ["&m", "&m ", "!!map", "&m !!map"])
def test_key_with_an_anchor_alone_is_a_key_with_its_value_beneath(anchor: str) -> None:
    text = GOOD.replace("metadata:", f"metadata: {anchor}").replace("  volumes:", " volumes:")
    assert [told.partition(" ")[0] for told in _told(text)] == ["16:2"]


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ('sh -c "sleep 5"', '`command: ["sh", "-c", "sleep 5"]`'),
        ("echo it's", '`command: ["echo", "it\'s"]`'),
        ("sleep 5", '`command: ["sleep", "5"]`'),
    ],
)
def test_text_for_a_command_is_split_as_a_shell_does(command: str, advice: str) -> None:
    report = check_text(GOOD.replace("image: nginx", f"image: nginx\n    command: {command}"))
    assert [fault.meant for fault in report.faults] == [advice]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_long_lines_are_cut_around_the_mark(width: int) -> None:
    line = '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"a": "%s"}}, "spec": %s}'
    report = check_text(line % ("x" * 3000, '{"containers": [{"name": "a", "imagee": "b"}], "x": "%s"}' % ("y" * 3000)))
    for fault in report.faults:
        _, shown, mark, *_ = render_fault("f", fault, report.lines, width=width).splitlines()
        assert len(shown) <= width
        assert len(mark) <= width
        assert (
            shown[mark.index("^") : mark.rindex("^") + 1] in (report.lines[0][fault.column - 1 : fault.end_column - 1])
        )

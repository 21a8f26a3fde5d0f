"""Damage of the layout, one kind a row: the place, what was meant, and whether there is one reading only."""

from __future__ import annotations

import pytest

from podhost.manifests.report import check_text, mend_text

GOOD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels:
    app: web
spec:
  containers:
  - name: a
    image: nginx
    ports:
    - containerPort: 80
      name: http
    env:
    - name: MODE
      value: fast
  - name: b
    image: debian
    args:
    - while true; do
        sleep 1;
      done
  restartPolicy: Never
  volumes:
  - name: data
    emptyDir: {}
"""


def replaced(*changes: tuple[str, str]) -> str:
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("old", "new", "place", "meant", "mends"),
    [
        ("    emptyDir", "  emptyDir", "26:3", "`emptyDir` belongs to the volume `data`: indent it by two more", True),
        ("    emptyDir", "emptyDir", "26:1", "`emptyDir` belongs to the volume `data`: indent it by four more", True),
        ("    image: debian", "   image: debian", "18:4", "to the container `b`: indent it by one more space", True),
        ("    image: debian", "     image: debian", "18:6", "to the container `b`: indent it by one fewer space", True),
        ("      name: http", "    name: http", "13:5", "", False),
        ("    app: web", "  app: web", "6:3", "`app` belongs to `labels`: indent it by two more spaces", True),
        ("  volumes:", " volumes:", "24:2", "`volumes` belongs to `spec`: indent it by one more space", True),
        ("  containers:", " containers:", "8:2", "`containers` belongs to `spec`: indent it by one more space", True),
        (
            "    - containerPort",
            "  - containerPort",
            "12:3",
            "the item belongs to the list `ports`: indent it by",
            True,
        ),
        ("  - name: b", " - name: b", "17:2", "the item belongs to the list `containers`: indent it by one more", True),
        (
            "  - name: a",
            "     - name: a",
            "9:6",
            "the item belongs to the list `containers`: indent it by three f",
            True,
        ),
        ("      done", "done", "22:1", "it probably goes on with the text that begins in line 20", True),
        ("image: debian", "image:debian", "18:5", "`image: debian`", True),
        ("spec:", "spec", "7:1", "`spec:`", True),
        ("    image: debian", "\timage: debian", "18:1", "put spaces in its place", True),
        ("  - name: data\n", "", "25:5", "put `- ` before the first key of the volume, or add the line", False),
        ("metadata:\n", "", "3:3", "`name` is a field of `metadata`: add the line `metadata:` above it", False),
        ("    - name: MODE", "    - @name: MODE", "15:7", "", False),
        ("value: fast", "value: 'fast", "16:14", "put a `'` where it ends", False),
        ("value: fast", "value: [fast", "16:14", "put a `]` where it ends", False),
        ("value: fast", "value: a: b", "16:7", "put the value in quotes", False),
        ("value: fast", "value: @fast", "16:14", "put the value in quotes", False),
    ],
)
def test_damage_is_told_at_its_place(old: str, new: str, place: str, meant: str, mends: bool) -> None:
    text = replaced((old, new))
    faults = check_text(text).faults
    first = faults[0]
    assert f"{first.line}:{first.column}" == place, faults
    assert meant in first.meant
    mended, told = mend_text(text)
    assert bool(told) == mends
    if mends:
        # A list key and its mended tabs may stand deeper than before; what they say is the same.
        assert check_text(mended).faults == []
        assert check_text(mended).objects[0].document == check_text(GOOD).objects[0].document
    else:
        assert mended == text


def test_several_faults_are_told_at_once_also_in_several_documents() -> None:
    broken = replaced(("    emptyDir", "  emptyDir"), ("    app: web", "  app: web"), ("image: debian", "imag: debian"))
    faults = check_text(broken + "---\n" + broken).faults
    assert [fault.line for fault in faults] == [6, 18, 26, 33, 45, 53]
    assert "labels" in faults[3].message


def test_only_what_is_certain_is_mended() -> None:
    broken = replaced(("    emptyDir", "  emptyDir"), ("value: fast", "value: 'fast"))
    mended, told = mend_text(broken)
    assert [fault.line for fault in told] == [26]
    assert mended == broken.replace("\n  emptyDir", "\n    emptyDir")


def test_line_ends_comments_and_a_missing_last_line_end_stay() -> None:
    broken = replaced(("    emptyDir: {}\n", "  # where it is\n  emptyDir: {} # here")).replace("\n", "\r\n")
    mended, _ = mend_text(broken)
    assert mended == broken.replace("  # where", "    # where").replace("  emptyDir", "    emptyDir")


def test_unindented_script_in_a_config_map_ends_where_the_next_key_begins() -> None:
    text = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: c
data:
  run.sh: |
#!/bin/sh
echo hello

  echo deeper
  other: |
    text
immutable: true
"""
    mended, told = mend_text(text)
    assert [(fault.line, fault.end_line) for fault in told] == [(7, 10)]
    data = check_text(mended).objects[0].document["data"]
    assert data == {"run.sh": "#!/bin/sh\necho hello\n\n  echo deeper\n", "other": "text\n"}


def test_text_with_a_line_that_leaves_the_block_names_that_line() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a.conf: |\n    one {\n two;\n    }\n"
    faults = check_text(text).faults
    assert [fault.line for fault in faults] == [8]
    assert "indented less than the first one" in faults[0].message


def test_tabs_are_told_once_for_lines_that_follow_each_other() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: a\nspec:\n\tcontainers:\n\t- name: a\n\t\timage: b\n"
    mended, _ = mend_text(text)
    assert [(fault.line, fault.end_line, fault.code) for fault in check_text(text).faults] == [
        (4, 0, "tab"),
        (6, 8, "tab"),
    ]
    assert "\t" not in mended
    assert check_text(mended).faults == []


def test_every_key_that_stands_beside_its_mapping_is_told() -> None:
    text = """\
apiVersion: v1
kind: Service
metadata:
  name: s
spec:
  selector:
  app: x
  tier: y
  ports:
  - name: a
  port: 80
  targetPort: 5000
  type: NodePort
"""
    assert [(fault.line, fault.column) for fault in check_text(text).faults] == [(7, 3), (8, 3), (11, 3), (12, 3)]
    spec = check_text(mend_text(text)[0]).objects[0].document["spec"]
    assert spec == {
        "selector": {"app": "x", "tier": "y"},
        "ports": [{"name": "a", "port": 80, "targetPort": 5000}],
        "type": "NodePort",
    }


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: b\n"


@pytest.mark.parametrize("between", ["", "\n", "# the second\n", "\n# one\n# two\n"])
def test_object_without_a_divider_above_it_gets_one(between: str) -> None:
    text = CONFIG + between + CONFIG.replace("apiVersion: v1\nkind: ConfigMap", "kind: ConfigMap\napiVersion: v1")
    (fault,) = check_text(text).faults
    line = 7 + between.count("\n")
    assert (fault.line, fault.column, fault.mendable, fault.meant) == (line, 1, True, "put a line `---` above it")
    mended, _ = mend_text(text)
    assert check_text(mended).faults == []
    assert len(check_text(mended).objects) == 2
    assert mended.replace("---\n", "") == text


def test_keys_of_an_object_may_repeat_in_its_block_text() -> None:
    text = CONFIG + "  manifest: |\n    apiVersion: v1\n    kind: Pod\n"
    assert check_text(text).faults == []


def test_key_that_is_set_twice_begins_no_object() -> None:
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: a\nkind: ServiceAccount\n"
    assert [fault.code for fault in check_text(account).faults] == ["duplicate-key"]


def test_quote_that_is_open_in_brackets_is_told_and_not_the_bracket() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: i\n"
    (fault,) = check_text(text + '    command: ["sh", "-c", "echo it\'s]\n').faults
    assert (fault.line, fault.column) == (8, 27)
    assert fault.message == 'the quote `"` that is opened here is never closed'


def test_a_line_without_end_is_not_printed_whole() -> None:
    (fault, *_) = check_text("[" * 100_000).faults
    assert len(fault.message) < 200

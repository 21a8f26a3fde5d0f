"""The article's listings as printed: every fault told at its place, with what was meant; mended they are the examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from podhost.manifests.render import render_fault
from podhost.manifests.report import check_text, mend_text

EXAMPLES = Path(__file__).parents[3] / "examples"
PRINTED = EXAMPLES / "as-printed"

MC1 = """\
mc1.yaml:8:2: error: `emptyDir` stands beside the `- ` of its list item
    7 |  - name: html
    8 |  emptyDir: {}
      |  ^^^^^^^^
  → `emptyDir` belongs to the volume `html`: indent it by two more spaces

mc1.yaml:20:1: error: `command` stands at the top level, where a Pod has no such field
   15 |  - name: 2nd
    …
   20 | command: ["/bin/sh", "-c"]
      | ^^^^^^^
  → `command` belongs to the container `2nd`: indent it by three more spaces

mc1.yaml:21:3: error: the indentation of `args` fits nothing above it
   15 |  - name: 2nd
    …
   21 |   args:
      |   ^^^^
  → `args` belongs to the container `2nd`: indent it by one more space

mc1.yaml:25:1: error: `done` is neither a key nor a list item
   22 |      - while true; do
    …
   25 | done
      | ^^^^
  → it probably goes on with the text that begins in line 22: indent it by seven more spaces
"""
MC3_CONFIG = """\
mc3-config.yaml:7:2: error: the text of `nginx.conf` is not indented further than `nginx.conf` itself
    6 |  nginx.conf: |-
    7 |  user nginx;
      |  ^^^^^^^^^^^
    8 |  worker_processes 1;
    9 |
  → lines 7 to 36 belong to `nginx.conf`: indent them by one more space
"""
MC3 = """\
mc3.yaml:6:2: error: `labels` has nothing beneath it, and `app` stands beside it
    5 |  labels:
    6 |  app: mc3
      |  ^^^
  → `app` belongs to `labels`: indent it by one more space

mc3.yaml:13:2: error: `ports` stands beside the `- ` of its list item
   11 |  - name: nginx
    …
   13 |  ports:
      |  ^^^^^
  → `ports` belongs to the container `nginx`: indent it by two more spaces

mc3.yaml:15:2: error: `volumeMounts` stands beside the `- ` of its list item
   11 |  - name: nginx
    …
   15 |  volumeMounts:
      |  ^^^^^^^^^^^^
  → `volumeMounts` belongs to the container `nginx`: indent it by two more spaces

mc3.yaml:17:2: error: `mountPath` stands beside the `- ` of its list item
   16 |  - name: nginx-proxy-config
   17 |  mountPath: /etc/nginx/nginx.conf
      |  ^^^^^^^^^
  → `mountPath` belongs to the volume mount `nginx-proxy-config`: indent it by four more spaces

mc3.yaml:18:2: error: `subPath` stands beside the `- ` of its list item
   16 |  - name: nginx-proxy-config
    …
   18 |  subPath: nginx.conf
      |  ^^^^^^^
  → `subPath` belongs to the volume mount `nginx-proxy-config`: indent it by four more spaces

mc3.yaml:21:2: error: `configMap` stands beside the `- ` of its list item
   20 |  - name: nginx-proxy-config
   21 |  configMap:
      |  ^^^^^^^^^
  → `configMap` belongs to the volume `nginx-proxy-config`: indent it by two more spaces
"""


@pytest.mark.parametrize(
    ("name", "told"), [("mc1.yaml", MC1), ("mc2.yaml", ""), ("mc3-config.yaml", MC3_CONFIG), ("mc3.yaml", MC3)]
)
def test_listing_is_told_what_is_wrong_where_and_what_was_meant(name: str, told: str) -> None:
    report = check_text((PRINTED / name).read_text())
    assert "\n".join(render_fault(name, fault, report.lines) + "\n" for fault in report.faults) == told


@pytest.mark.parametrize(
    ("names", "example"),
    [(["mc1.yaml"], "mc1"), (["mc2.yaml"], "mc2"), (["mc3-config.yaml", "mc3.yaml"], "mc3")],
)
def test_mended_listing_says_what_the_example_says(names: list[str], example: str) -> None:
    mended = [mend_text((PRINTED / name).read_text())[0] for name in names]
    documents = [document for text in mended for document in yaml.safe_load_all(text)]
    wanted = list(yaml.safe_load_all((EXAMPLES / example / f"{example}.yaml").read_text()))
    assert [_loose(document) for document in documents] == [_loose(document) for document in wanted]


@pytest.mark.parametrize("name", ["mc1.yaml", "mc3-config.yaml", "mc3.yaml"])
def test_mended_listing_has_no_faults_and_the_same_words_in_the_same_lines(name: str) -> None:
    text = (PRINTED / name).read_text()
    mended, faults = mend_text(text)
    assert faults == check_text(text).faults
    assert check_text(mended).faults == []
    assert [line.strip() for line in mended.splitlines()] == [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("mc*/*.yaml")), ids=str)
def test_good_manifest_has_no_faults_and_is_left_alone(path: Path) -> None:
    text = path.read_text()
    report = check_text(text)
    assert (report.faults, mend_text(text)) == ([], (text, []))
    assert [found.document for found in report.objects] == list(yaml.safe_load_all(text))


def _loose(document: dict[str, Any]) -> Any:
    """Without the depth of indentation inside the nginx configuration, which means nothing there."""
    conf = (document.get("data") or {}).get("nginx.conf")
    if conf:
        document["data"]["nginx.conf"] = re.sub(r"(?m)^[ ]+|[ ]+$", "", conf)
    return document

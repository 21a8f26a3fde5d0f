"""Write the committed, generated files: ``python scripts/generate_api`` (``--check`` only compares)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from definitions import VERSION, load_definitions
from facts import build_facts
from model_source import build_source

ROOT = Path(__file__).resolve().parents[2]


def render_facts(facts: dict[str, object]) -> str:
    """One definition a line: small, and readable in a diff."""
    lines = [f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in facts.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def build_files() -> dict[Path, str]:
    """Content of every generated file."""
    definitions = load_definitions()
    files = {
        ROOT / "src/podhost/api/models.py": build_source(definitions, VERSION),
        ROOT / "src/podhost/api/schema_facts.json": render_facts(build_facts(definitions)),
    }
    return files


def build_documents() -> dict[Path, str]:
    """Documents made from the package itself, which needs the files above."""
    from compat import build_compat

    return {ROOT / "docs/compat.md": build_compat()}


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = 0
    for build in (build_files, build_documents):
        for path, text in build().items():
            if path.exists() and path.read_text() == text:
                continue
            stale += 1
            print(("stale: " if check else "wrote ") + str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

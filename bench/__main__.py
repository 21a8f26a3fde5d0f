"""``python -m bench [NAME …]``: run the named measurements, or all of them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

NAMES = ("pod_start", "footprint", "churn", "requests", "channels", "api", "probes")


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        importlib.import_module(f"bench.{name}").main()


main()

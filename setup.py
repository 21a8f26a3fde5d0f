"""Adds the descriptions of the API's fields, which are not committed, to what is built (see pyproject.toml)."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


DESCRIPTIONS = ROOT / "src" / "podhost" / "api" / "descriptions.json.gz"


class BuildWithDescriptions(build_py):
    """For ``kubectl explain``.  A build without them fails: nobody would notice until they ask."""

    def run(self) -> None:
        sys.path.insert(0, str(ROOT / "scripts" / "generate_api"))
        try:
            from descriptions import write_descriptions
        except ImportError as error:
            if not DESCRIPTIONS.exists():
                sys.exit(f"cannot make the descriptions of the API's fields: {error}")
        else:
            write_descriptions(DESCRIPTIONS)
        super().run()


setup(cmdclass={"build_py": BuildWithDescriptions})

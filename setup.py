"""Adds the descriptions of the API's fields, which are not committed, to what is built (see pyproject.toml)."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithDescriptions(build_py):
    """For ``kubectl explain``.  Without the package that they come from, podhost works and explains less."""

    def run(self) -> None:
        sys.path.insert(0, str(ROOT / "scripts" / "generate_api"))
        try:
            from descriptions import write_descriptions
        except ImportError as error:
            print(f"no descriptions of fields: {error}", file=sys.stderr)
        else:
            write_descriptions(ROOT / "src" / "podhost" / "api" / "descriptions.json.gz")
        super().run()


setup(cmdclass={"build_py": BuildWithDescriptions})

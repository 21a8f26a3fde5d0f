"""What is in a layout or an archive that somebody else has made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from podhost.errors import InvalidError
from podhost.images.load_sources import _find_oci


@pytest.mark.parametrize(
    "index", [[1], {"manifests": {"a": 1}}, {"manifests": [[1]]}, {"manifests": [{"annotations": [1]}]}]
)
def test_an_index_of_another_form_is_an_invalid_image(tmp_path: Path, index: Any) -> None:
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidError, match="cannot load"):
        _find_oci("oci", str(tmp_path))

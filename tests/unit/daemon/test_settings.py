from __future__ import annotations

import pytest

from podhost.daemon.settings import parse_settings
from podhost.errors import InvalidError


@pytest.mark.parametrize("name", ["", "_images", "Upper", "a/b", "..", "-a", "a-", "x" * 33])
def test_an_instance_name_that_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match="cannot use instance name"):
        parse_settings(["--instance", name] if not name.startswith("-") else [f"--instance={name}"])


def test_only_the_default_instance_takes_the_well_known_port() -> None:
    assert parse_settings(["--instance", "default"]).api_port == 6443
    assert parse_settings(["--instance", "other"]).api_port == 0
    assert parse_settings(["--instance", "other", "--api-port", "7000"]).api_port == 7000


def test_instances_share_the_image_store_and_nothing_else() -> None:
    one, two = parse_settings(["--instance", "one"]), parse_settings(["--instance", "two"])
    assert one.images_dir == two.images_dir
    assert one.data_dir != two.data_dir
    assert one.run_dir != two.run_dir


@pytest.mark.parametrize("text", ["30000", "a-b", "200-100", "0-10", "1-70000"])
def test_a_port_range_must_make_sense(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--node-ports", text])
    assert "is not a port range" in capsys.readouterr().err

"""The examples beside the digits demo run, at small sizes, and check themselves."""

from __future__ import annotations

from click.testing import CliRunner

from examples import local_attention


def test_local_attention() -> None:
    result = CliRunner().invoke(local_attention.main, ["--length", "96", "--features", "8"])
    assert result.exit_code == 0, result.output
    assert "proved" in result.output

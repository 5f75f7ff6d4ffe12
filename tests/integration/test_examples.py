"""The examples beside the digits demo run, at small sizes, and check themselves."""

from __future__ import annotations

from click.testing import CliRunner

from examples import local_attention, user_operator


def test_local_attention() -> None:
    result = CliRunner().invoke(local_attention.main, ["--length", "96", "--features", "8"])
    assert result.exit_code == 0, result.output
    assert "proved" in result.output


def test_user_operator() -> None:
    result = CliRunner().invoke(user_operator.main, ["--rows", "32", "--steps", "24"])
    assert result.exit_code == 0, result.output
    assert "gated_grad_" in result.output  # fused under its own name

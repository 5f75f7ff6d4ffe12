"""The examples beside the digits demo run, at small sizes, and check themselves."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from examples import gallery, local_attention, user_operator


def test_local_attention() -> None:
    result = CliRunner().invoke(local_attention.main, ["--length", "96", "--features", "8"])
    assert result.exit_code == 0, result.output
    assert "proved" in result.output


def test_user_operator() -> None:
    result = CliRunner().invoke(user_operator.main, ["--rows", "32", "--steps", "24"])
    assert result.exit_code == 0, result.output
    assert "gated_grad_" in result.output  # fused under its own name


@pytest.mark.parametrize("example", gallery.EXAMPLES, ids=lambda example: example.plain.__name__)
def test_gallery(example: gallery.Example) -> None:
    kernel = gallery.check(example, 40)
    assert kernel.certificate and kernel.name == example.plain.__name__


def test_gallery_as_a_program() -> None:
    result = CliRunner().invoke(gallery.main, ["--size", "40"])
    assert result.exit_code == 0, result.output
    assert all(example.note in result.output for example in gallery.EXAMPLES)

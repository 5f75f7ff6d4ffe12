"""`python -m comprehension`: what it shows, refuses and exits with."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from comprehension.__main__ import main
from comprehension.config import config

TEXT = """
def twice(float(N) A) -> (B) { B(i) = 2.0 * A(i) }
def matmul(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "text.tc"
    path.write_text(TEXT)
    return str(path)


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_check_lists_the_defs_of_a_good_text(file: str) -> None:
    done = run("check", file)
    assert (done.exit_code, done.output.splitlines()) == (0, ["twice: 1 statements", "matmul: 1 statements"])


def test_check_shows_the_place_of_an_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad.tc"
    bad.write_text("def f(float(N) A) -> (B) { B(i) = A(j) }")
    done = run("check", str(bad))
    assert done.exit_code == 1
    assert "1:37" in done.output and "^" in done.output


def test_check_of_something_that_is_no_text(tmp_path: Path) -> None:
    bad = tmp_path / "bad.tc"
    bad.write_bytes(b"\xff\xfe\x00")
    done = run("check", str(bad))
    assert done.exit_code == 1 and "bad.tc is not a text" in done.output


def test_show_prints_every_stage_of_the_last_def(file: str) -> None:
    done = run("show", file, "--sizes", "M=4,K=5,N=6")
    assert done.exit_code == 0, done.output
    for expected in ("def matmul", "[20-scop.txt]", "[60-certificate.txt]", "stage0", "flops      240"):
        assert expected in done.output


def test_show_of_one_stage_with_sizes_left_symbolic(file: str) -> None:
    done = run("show", file, "--def", "twice", "--stage", "loops")
    assert done.exit_code == 0, done.output
    assert "i in 0:N" in done.output and "[20-scop.txt]" not in done.output


def test_bench_times_a_def(file: str) -> None:
    done = run("bench", file, "--def", "twice", "--sizes", "N=100", "--seconds", "0.01")
    assert done.exit_code == 0, done.output
    assert "GB/s at least" in done.output


@pytest.mark.parametrize(
    "arguments,code,message",
    [
        (("show", "FILE", "--def", "nothing"), 1, "unknown function 'nothing'"),
        (("show", "FILE", "--sizes", "Q=3"), 1, "matmul has no size Q; its sizes are M, K, N"),
        (("show", "FILE", "--sizes", "N=x"), 2, "'N=x' is not NAME=NUMBER"),
        (("show", "FILE", "--options", "magic"), 1, "expected a MappingOptions or one of"),
        (("show", "no-such-file.tc"), 2, "No such file"),
    ],
)
def test_misuse(file: str, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = run(*[file if a == "FILE" else a for a in arguments])
    assert done.exit_code == code
    assert message in done.output


def test_cache_info_and_clear(file: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(config, "cache_dir", tmp_path / "cache")
    run("show", file, "--def", "twice", "--sizes", "N=7")
    assert "entries   1" in run("cache", "info").output
    assert "removed 1 entries" in run("cache", "clear").output
    assert "entries   0" in run("cache", "info").output


def test_cache_that_is_refused(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setattr(config, "cache_dir", folder)
    done = run("cache", "info")
    assert done.exit_code == 1 and "others may write" in done.output

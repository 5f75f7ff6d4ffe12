"""`python -m comprehension`: what it shows, refuses and exits with."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from comprehension import ComprehensionError, Spec, define
from comprehension.__main__ import main
from comprehension.config import config
from comprehension.jit.cache import VERSION
from comprehension.terminal import print_error

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


def test_check_describes_the_defs_of_a_good_text(file: str) -> None:
    done = run("check", file)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "twice(float(N) A) -> (float(N) B)",
        "  S0  B(i) = 2.0 * A(i)",
        "        i in 0:N    from A(i)",
        "matmul(float(M, K) A, float(K, N) B) -> (float(M, N) C)",
        "  S0  C(m, n) +=! A(m, k) * B(k, n)",
        "        m in 0:M    from A(m, k)",
        "        n in 0:N    from B(k, n)",
        "        k in 0:K    from A(m, k)",
    ]


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.tc"
    path.write_text("def f(float(N) A) -> (B) {\n  B(i) = A(j)\n  B(i) = [red]A(i)[/red]\n}")
    return str(path)


def test_check_shows_the_place_of_an_error(bad: str) -> None:
    done = run("check", bad)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"{bad}:3:10: error: unexpected character '['; subscripts stand in ( )",
        "  B(i) = [red]A(i)[/red]",
        "         ^",
    ]


def test_check_shows_every_error_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "two.tc"
    path.write_text("def f(float(N) A) -> (B) {\n  B(i) = A(j)\n  A(i) = 2.0\n}")
    lines = run("check", str(path)).stderr.splitlines()
    assert [line.split(": ")[0] for line in lines[::3]] == [f"{path}:2:12", f"{path}:3:3"]
    assert lines[1::3] == ["  B(i) = A(j)", "  A(i) = 2.0"] and lines[2::3] == [" " * 11 + "^", " " * 2 + "^"]


def test_check_looks_at_every_file(file: str, bad: str) -> None:
    done = run("check", bad, file)
    assert done.exit_code == 1
    assert "bad.tc:3:10" in done.stderr and "twice(" in done.stdout


def test_check_reads_standard_input() -> None:
    done = CliRunner().invoke(main, ["check", "-"], input="def f(float(N) A) -> (B) { B(i) = A(j) }")
    assert done.exit_code == 1 and done.stderr.startswith("<stdin>:1:37: error: reduction variable 'j'")


def test_a_warning_is_shown_and_is_no_error() -> None:
    done = CliRunner().invoke(main, ["check", "-"], input="def f(float(N) A) -> (B) { B(i) += A(i) }")
    assert done.exit_code == 0 and done.stdout.startswith("f(float(N) A)")
    assert done.stderr.startswith("<stdin>:1:28: warning: uninitialised reduction") and "^" in done.stderr


def test_an_error_on_a_terminal_is_coloured_and_otherwise_the_same() -> None:
    def printed(**settings: bool) -> str:
        console = Console(file=StringIO(), width=60, **settings)  # type: ignore[arg-type]
        try:
            define("def f(float(N) A) -> (B) { B(i) = A(j)  B(i) = [bold]A(k) }")
        except ComprehensionError as error:
            print_error(console, error, "a.tc")
        return console.file.getvalue()  # type: ignore[attr-defined]

    plain, coloured = printed(), printed(force_terminal=True)
    assert "\x1b[1;31merror" in coloured and "\x1b[1;32m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert plain.startswith("a.tc:1:") and "[bold]" in plain


def test_check_of_something_that_is_no_text(tmp_path: Path) -> None:
    bad = tmp_path / "bad.tc"
    bad.write_bytes(b"\xff\xfe\x00")
    done = run("check", str(bad))
    assert done.exit_code == 1 and "bad.tc is not a text" in done.output


def test_show_prints_every_stage_of_the_last_def(file: str) -> None:
    done = run("show", file, "--sizes", "M=4,K=5,N=6")
    assert done.exit_code == 0, done.output
    for expected in (
        "def matmul",
        "20-scop.txt",
        "60-certificate.txt",
        "stage0",
        "flops      240",
        "Checked at each launch",
    ):
        assert expected in done.output


def test_show_of_one_stage_with_sizes_left_symbolic(file: str) -> None:
    done = run("show", file, "--def", "twice", "--stage", "loops")
    assert done.exit_code == 0, done.output
    assert "i in 0:N" in done.output and "scop" not in done.output
    assert done.output.startswith("input"), "bare text, fit for a file"


def test_show_of_two_stages_has_their_titles(file: str) -> None:
    done = run("show", file, "--def", "twice", "--stage", "schedule", "--stage", "loops")
    assert done.exit_code == 0, done.output
    assert done.output.index("40-schedule.txt") < done.output.index("10-loops.txt")


def test_the_source_that_show_prints_is_the_kernels(file: str) -> None:
    done = run("show", file, "--def", "twice", "--sizes", "N=7", "--stage", "kernel")
    kernel = define(TEXT).twice.compile(Spec((7,), "float32"))
    assert done.output == kernel.source.rstrip("\n") + "\n"


def test_show_for_cuda_with_a_preset_and_strict_arithmetic(file: str) -> None:
    done = run("show", file, "--def", "twice", "--target", "cuda", "--options", "naive", "--math", "strict")
    assert done.exit_code == 0, done.output
    assert "55-mapped-ir.txt" in done.output and "from numba import cuda" in done.output


def test_show_writes_a_page(file: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("show", file, "--sizes", "M=4,K=5,N=6", "--html", str(page))
    assert done.exit_code == 0 and str(page) in done.output
    assert page.read_text().startswith("<!doctype html>")


def test_bench_times_a_def_beside_numpy_and_the_limit(file: str) -> None:
    done = run("bench", file, "--def", "twice", "--sizes", "N=100", "--seconds", "0.01")
    assert done.exit_code == 0, done.output
    assert [line.split(" ")[0] for line in done.output.splitlines()[3:6]] == ["comprehension", "NumPy", "limit"]


def test_bench_times_schedules_beside(file: str, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text(define(TEXT).twice.schedule().split("i", 8).text)
    asked = ("bench", file, "--def", "twice", "--sizes", "N=100", "--seconds", "0.01", "--schedule", str(own))
    done = run(*asked)
    assert done.exit_code == 0, done.output
    assert [line.split(" ")[0] for line in done.output.splitlines()[3:5]] == ["comprehension", "own"]
    own.write_text("split('j', 8)")
    done = run(*asked)
    assert done.exit_code == 1 and "there is no loop 'j'" in done.output


def test_bench_on_one_thread(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "threads", 2)
    done = run("bench", file, "--def", "twice", "--sizes", "N=100", "--seconds", "0.01", "--threads", "1")
    assert ", 1 thread, " in done.output


@pytest.mark.parametrize(
    "arguments,code,message",
    [
        (("show", "FILE", "--def", "nothing"), 1, "unknown function 'nothing'"),
        (("show", "FILE", "--sizes", "Q=3"), 1, "matmul has no size Q; its sizes are M, K, N"),
        (("show", "FILE", "--sizes", "N=x"), 2, "'N=x' is not NAME=NUMBER"),
        (("show", "FILE", "--sizes", "N=1,N=2"), 2, "N is given twice"),
        (("show", "FILE", "--stage", "loop"), 2, "no stage 'loop'; there are source, loops, scop"),
        (("bench", "FILE", "--sizes", "M=8"), 2, "give all, as in --sizes M=8,K=256,N=256"),
        (("bench", "FILE"), 2, "give all, as in --sizes M=256,K=256,N=256"),
        (("check",), 2, "Missing argument 'FILES...'"),
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
    held = sum(1 for path in (tmp_path / "cache" / VERSION).iterdir() if not path.name.startswith("."))
    assert held >= 1 and f"entries   {held}\n" in run("cache", "info").output
    assert f"removed {held} " in run("cache", "clear").output
    assert "entries   0" in run("cache", "info").output


def test_cache_that_is_refused(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setattr(config, "cache_dir", folder)
    done = run("cache", "info")
    assert done.exit_code == 1 and "others may write" in done.output

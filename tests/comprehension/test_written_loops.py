"""Loops of a schedule as a person reads them: `loops.txt`, the whole text after some steps, or why they are refused.

What is legal is proved elsewhere (`test_looptree.py`); here stands which loops, bounds, buffers and copies came of it,
and in which words a step is refused.  What was meant to change is written down by

    python tests/comprehension/test_written_loops.py

and is then read in the diff.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from approved import WrittenDown
from test_looptree import FUSED_ROWS, ILLEGAL, LEGAL, TILE, UNFIT, case

from comprehension.errors import ComprehensionError
from comprehension.kernel.printer import to_text
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.poly.dependence import find_dependences
from comprehension.poly.looptree.apply import follow
from comprehension.poly.schedule_tree import PromoteMark, StageMark
from comprehension.poly.scop import build_scop
from comprehension.scheduling.steps import parse_steps

MORE = {
    "tile of three": ("conv", "distribute('w')\ntile({'S0.c': 2, 'S0.kh': 2, 'S0.kw': 2})"),
    "inner loops tiled in another order": ("conv", "tile({'w': 4, 'h': 2})"),
    "split of one": ("matmul", "split('k', 1)"),
    "split beyond the loop": ("matmul", "split('k', 100)"),
    "loops between stay": ("conv", "reorder('w', 'o')"),
    "three fused": ("softmax", "fuse('S0.i', 'S1.i', 'S2.i')"),
    "fused with what lies further down": ("softmax", "fuse('S0.i', 'S3.i')"),
    "fused as low as must be": ("two_sums", "fuse('S0.n', 'S1.n')"),
    "fused, once unrolled": ("stencil", "unroll('B.i', 2)\nshift('C.i', 2)\nfuse('B.i', 'C.i')"),
    "fused with itself": ("matmul", "fuse('m', 'm')"),
    "distributed thrice": ("moments", "fuse('S0.n', 'S1.n')\ndistribute('S0.n')"),
    "shifted back": ("stencil", "shift('C.i', -3)"),
    "shift of one statement": ("stencil", "shift('C.i', 2)\nfuse('B.i', 'C.i')\nshift('S1.i', 1)"),
    "skewed back": ("matmul", "skew('k', 'm', -1)"),
    "skewed along an inner loop": ("matmul", "skew('m', 'k', 1)"),
    "reversed and split": ("transpose", "reverse('j')\nsplit('j', 4)"),
    "split of a loop that begins later": ("scan", "split('S1.t', 2)"),
    "loops that depend": ("triangle", "split('i', 4)\nreorder('i.inner', 'i.outer')"),
    "loops that depend, the inner one first": ("triangle", "distribute('i')\nreorder('S0.j', 'S0.i')"),
    "lanes of a loop that begins later": ("scan", "vectorize('S1.d', 4)"),
    "lanes of several statements": ("softmax", f"{FUSED_ROWS}\nfuse('S1.j', 'S3.j')"),
    "lanes that sink into two loops": ("moments", "fuse('S0.n', 'S1.n')\nvectorize('S0.n', 4)"),
    "rows and lanes of a reduction": ("matmul", "vectorize({'n': 4, 'k': 2})"),
    "lanes of a product": ("product", "vectorize('j', 4)"),
    "lanes of a maximum": ("largest", "vectorize('j', 8)\nparallelize('i')"),
    "lanes of a total": ("total", "vectorize('j', 4)"),
    "lanes of a strict total": ("total", "distribute('i')\nvectorize({'S0.i': 2, 'S0.j': 4})"),
    "a box of two axes": ("matmul", "promote('B', 'm')"),
    "a box with a ragged tile": ("matmul", "split('n', 8)\npromote('B', 'n.outer')"),
    "a box of few elements": ("matmul", "split('n', 4)\npromote('B', 'n.outer')"),
    "one element": ("matmul", "promote('A', 'k')"),
    "an output, copied in and out": ("matmul", "distribute('n')\ndistribute('m')\npromote('C', 'S0.m')"),
    "an output, written first": ("matmul", "promote('C', 'm')"),
    "an output of one element": ("matmul", "promote('C', 'n')"),
    "what is added to": ("accumulated", "promote('C', 'n')"),
    "one tensor at two places": ("moments", "promote('I', 'S0.n')\npromote('I', 'S1.n')"),
    "two tensors at one place": ("matmul", "promote('A', 'm')\npromote('B', 'm')"),
    "a temporary that others read": ("softmax", "promote('E', 'S1.i')"),
    "a temporary in two iterations": ("stencil", "promote('B', 'B.i')"),
    "registers at two places": (
        "two_sums",
        "vectorize('S0.n', 4)\nvectorize('S1.n', 4)\npromote('C', 'S0.n.outer')\npromote('C', 'S1.n.outer')",
    ),
    "registers of lanes": ("matmul", "vectorize('n', 8)\npromote('C', 'n.outer')"),
    "panels of both": ("matmul", f"{TILE}\npack('A', 'm.outer')\npack('B', 'm.outer')\npromote('C', 'n.outer')"),
    "panels at the innermost loop": ("matmul", f"{TILE}\npack('B', 'n.outer')"),
    "panels of lanes alone": ("matmul", "vectorize('n', 8)\npack('B', 'm')"),
    "panels of what is written": ("matmul", f"{TILE}\npack('C', 'n.outer')"),
    "panels of what lanes do not move": ("matmul", "vectorize('n', 8)\npack('A', 'm')"),
    "held and distributed": ("matmul", "promote('A', 'n')\ndistribute('n')"),
    "held and reordered": ("matmul", "promote('B', 'm')\nreorder('n', 'm')"),
    "held, its inner loop reordered": ("conv", "promote('I', 'n')\nreorder('w', 'h')"),
    "nothing touched": ("softmax", "promote('Y', 'S0.i')"),
    "held around": ("matmul", "promote('A', 'n')\npromote('A', 'm')"),
    "lanes of three statements": ("in_place", "fuse('S0.n', 'S1.n', 'S2.n')\nvectorize('n', 4)"),
    "rows and lanes of two statements": (
        "mlp",
        "fuse('S1.b', 'S2.b')\nfuse('S1.n', 'S2.n')\nvectorize({'S1.b': 2, 'S1.n': 4})",
    ),
    "parallel, and much to do": ("conv", "parallelize('n')"),
    "parallel, and little to do": ("relu", "parallelize('i')"),
    "parallel functions": ("softmax", f"{FUSED_ROWS}\nparallelize('i')"),
    "parallel tiles of lanes": ("matmul", f"{TILE}\nparallelize('m.outer')"),
    "parallel lanes": ("transpose", "vectorize('i', 4)\nparallelize('j')"),
    "parallel tiles": ("transpose", "split('j', 4)\nparallelize('j.outer')"),
    "parallel, then split": ("transpose", "parallelize('j')\nsplit('j', 4)"),
    "unrolled by lanes": ("transpose", "unroll('i', 2)\nvectorize('i', 4)"),
    "lanes within lanes": ("matmul", "vectorize('k', 2)\nvectorize('k.outer', 2)"),
    "guards": ("padded", "split('i', 4)"),
    "lets": ("let", "vectorize('i', 8)"),
    "remainders": ("modulo", "split('i', 4)"),
    "quotients": ("halved", "reverse('i')"),
    "least and largest": ("clamped", "split('i', 8)"),
    "named rows": ("gather", "split('b', 2)"),
    "named places": ("scatter", "split('S1.b', 4)\nreverse('S1.b.inner')"),
}
SYMBOLIC = {
    "product in tiles": ("matmul", "tile({'m': 4, 'n': 8})\npromote('B', 'n.outer')"),
    "product by rows and lanes": ("matmul", f"{TILE}\npack('B', 'm.outer')\npromote('C', 'n.outer')"),
    "a row of any length": ("matmul", "promote('A', 'm')"),
    "softmax": ("softmax", f"{FUSED_ROWS}\npromote('t', 'i')\nparallelize('i')"),
    "scan": ("scan", "skew('S1.d', 'S1.t', 2)\nsplit('S1.d', 4)"),
    "stencil": ("stencil", "shift('C.i', 2)\nfuse('B.i', 'C.i')\nsplit('B.i', 8)"),
    "reversed": ("reversed", "reverse('i')"),
    "filters": ("filters", "split('x', 4)"),
    "two sums": ("two_sums", "fuse('S0.n', 'S1.n')\npromote('C', 'n')"),
    "triangle": ("triangle", "vectorize('i', 4)"),
}


def every() -> Iterator[tuple[str, str, str, str]]:
    """Title, text, sizes and steps of each case."""
    for title, (name, steps, _) in {**LEGAL, **ILLEGAL, **UNFIT}.items():
        yield title, name, "static", steps
    for title, (name, steps) in MORE.items():
        yield title, name, "static", steps
    for title, (name, steps) in SYMBOLIC.items():
        yield f"{title}, any sizes", name, "symbolic", steps


CASES = {title: (name, sizes, steps) for title, name, sizes, steps in every()}


def written_for(name: str, sizes: str, steps: str) -> Iterator[str]:
    yield f"{name}: {'; '.join(steps.splitlines())}"
    of = case(name, sizes)
    try:
        stage = of.follow(steps)
    except ComprehensionError as error:
        yield from f"{type(error).__name__}: {error}".splitlines()
        return
    yield from stage.text.splitlines()
    yield from stage.tree.steps
    marks = stage.tree.decisions.items()
    yield from (f"{name}: {mark}" for name, mark in marks if isinstance(mark, StageMark) and mark.parallel)
    yield from ([f"copies: {', '.join(stage.tree.copies)}"] if stage.tree.copies else [])
    kernel, _ = of.kernel(stage.tree)
    shown = [line.strip() for line in to_text(kernel).splitlines()]
    yield from (line for line in shown if line.startswith("tile") or "# copy" in line or "# combine" in line)


def lines_of(title: str) -> Iterator[str]:
    return written_for(*CASES[title])


WRITTEN = WrittenDown("loops", CASES, lines_of)


@pytest.mark.parametrize("title", CASES)
def test_loops_are_those_that_are_written_down(title: str) -> None:
    WRITTEN.check(title)


def test_every_section_has_its_case() -> None:
    WRITTEN.check_titles()


@pytest.mark.parametrize(
    ("steps", "more"),
    [
        ("reorder('n', 'm')", 0),
        ("reverse('k')", 0),
        ("skew('k', 'm', 1)", 0),
        ("unroll('k', 2)", 0),
        ("split('m', 2)", 1),
        ("tile({'m': 2, 'n': 4})", 2),
        ("distribute('n')", 1),
        ("distribute('n')\ndistribute('m')", 2),
        ("vectorize('n', 4)", 2),  # of each of two statements
        ("vectorize({'m': 2, 'n': 4})", 4),
    ],
)
def test_steps_make_no_loops_that_nobody_sees(steps: str, more: int) -> None:
    loops = list(case("matmul").follow(steps).loops.loops())
    assert len(loops) == 3 + more


@pytest.mark.parametrize(
    ("name", "steps", "home"),
    [
        ("softmax", f"{FUSED_ROWS}\npromote('E', 'i')", True),  # nothing of it is elsewhere
        ("softmax", "promote('E', 'S1.i')", False),  # others read it
        ("matmul", "promote('A', 'm')", False),
    ],
)
def test_a_temporary_that_stays_is_at_home(name: str, steps: str, home: bool) -> None:
    marks = [mark for mark in case(name).follow(steps).tree.decisions.values() if isinstance(mark, PromoteMark)]
    assert [promotion.is_home for mark in marks for promotion in mark.promotions] == [home]


def test_loops_of_one_iteration_are_numbers() -> None:
    text = "def f(float(N) A) -> (O) { O(i, j) = A(i + j) where i in 0:1, j in 0:1 }"
    scop = build_scop(infer(load(text)["f"], [Spec((3,), "float32")]))
    (stage,) = follow(scop, find_dependences(scop), [])
    assert stage.text == "S0: O(0, 0) = A(0)"


@pytest.mark.parametrize(
    ("text", "shapes", "steps", "grain"),
    [
        # a row: 20 initialisations of one access, 600 updates of four accesses and two operations, a quarter each: 905
        ("C(m,n) +=! A(m,k) * B(k,n)", ((100, 30), (30, 20)), "parallelize('m')", 22),
        ("C(m,n) +=! A(m,k) * B(k,n)", ((10, 30), (30, 20)), "parallelize('m')", 10),  # no more than there are
        ("C(m,n) +=! A(m,k) * B(k,n)", ((100, 300), (300, 200)), "parallelize('m')", 1),
        ("C(m,n) +=! A(m,k) * B(k,n)", ((100, 30), (30, 20)), "split('m', 4)\nparallelize('m.outer')", 5),
        ("C(m) = A(m, 0) + B(0, 0)", ((30_000, 1), (1, 1)), "parallelize('m')", 20_000),  # one at least for each
    ],
)
def test_a_chunk_is_worth_handing_to_a_worker(
    text: str, shapes: tuple[tuple[int, ...], ...], steps: str, grain: int
) -> None:
    definition = load(f"def f(float(M,K) A, float(K,N) B) -> (C) {{ {text} }}")["f"]
    scop = build_scop(infer(definition, [Spec(shape, "float32") for shape in shapes]))
    stage = follow(scop, find_dependences(scop), parse_steps(steps))[-1]
    marks = [mark for mark in stage.tree.decisions.values() if isinstance(mark, StageMark)]
    assert [(mark.parallel, mark.grain) for mark in marks] == [(True, grain)]


if __name__ == "__main__":
    WRITTEN.write()

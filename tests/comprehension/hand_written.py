"""Loop programs and kernels written by hand, for tests of what reads KernelIR."""

from __future__ import annotations

from dataclasses import replace

from comprehension.kernel import ir
from comprehension.lang import tree
from comprehension.lang.loops import Index, LoopProgram, LoopStatement, Precondition, Role, TensorInfo
from comprehension.lang.types import ScalarType

F32 = ScalarType.FLOAT32
I32 = ScalarType.INT32
COPY, FILL, COMBINE = ir.StoreRole.COPY, ir.StoreRole.FILL, ir.StoreRole.COMBINE

# --- integers -------------------------------------------------------------------------------------------


def integer(x):
    """An IntExpr of an int, a name, or `a+b`, `a-b`, `a*3` of such."""
    if isinstance(x, int):
        return ir.Int(x)
    if not isinstance(x, str):
        return x
    for op in "+-*":
        if op in x:
            left, right = x.rsplit(op, 1) if op != "*" else x.split(op, 1)
            return ir.IntOp(op, integer(left.strip()), integer(right.strip()))
    return ir.Int(int(x)) if x.isdigit() else ir.Var(x)


def integers(*parts):
    return tuple(integer(p) for p in parts)


def least(a, b):
    return ir.IntOp("min", integer(a), integer(b))


# --- programs -----------------------------------------------------------------------------------------------


def size(x):
    return tree.Number(x, dtype=I32) if isinstance(x, int) else tree.Name(x, dtype=I32)


def expr(x):
    """A typed int32 expression: an int, a name, `a+b` or `a-b`, or a tree already."""
    if isinstance(x, int | tree.Expr):
        return size(x) if isinstance(x, int) else x
    for op in "+-":
        if op in x:
            left, right = x.rsplit(op, 1)
            return tree.Binary(op, expr(left), expr(right), dtype=I32)
    return size(int(x)) if x.isdigit() else size(x)


def read(tensor, *subscripts):
    return tree.Access(tensor, tuple(expr(s) for s in subscripts), dtype=F32)


def times(a, b):
    return tree.Binary("*", a, b, dtype=F32)


def plus(a, b):
    return tree.Binary("+", a, b, dtype=F32)


def call(function, *arguments):
    return tree.Call(function, arguments, dtype=F32)


def statement(name, target, subscripts, value, indices, left, reduction=None, initialise=False):
    """`indices`: (name, upper) or (name, lower, upper)."""
    ranges = tuple(Index(i[0], expr(i[1] if len(i) == 3 else 0), expr(i[-1])) for i in indices)
    return LoopStatement(name, target, tuple(expr(s) for s in subscripts), value, ranges, left, reduction, initialise)


def program(name, tensors, statements, sizes=()):
    """`tensors`: name -> (shape, role)."""
    infos = tuple(TensorInfo(n, F32, tuple(expr(s) for s in shape), role) for n, (shape, role) in tensors.items())
    return LoopProgram(name, tuple(sizes), (), infos, tuple(statements))


def matmul_program(m, n, k):
    tensors = {"A": ((m, k), Role.INPUT), "B": ((k, n), Role.INPUT), "C": ((m, n), Role.OUTPUT)}
    product = times(read("A", "m", "k"), read("B", "k", "n"))
    body = statement("S0", "C", ("m", "n"), product, [("m", m), ("n", n), ("k", k)], 2, "+", True)
    return program("matmul", tensors, [body], [s for s in (m, n, k) if isinstance(s, str)])


def softmax_program(m, n):
    """Four statements over rows; two reductions into temporaries."""
    tensors = {"X": ((m, n), Role.INPUT), "Y": ((m, n), Role.OUTPUT), "top": ((m,), Role.TEMPORARY)}
    tensors |= {"E": ((m, n), Role.TEMPORARY), "total": ((m,), Role.TEMPORARY)}
    both = [("i", m), ("j", n)]
    shifted = call("exp", tree.Binary("-", read("X", "i", "j"), read("top", "i"), dtype=F32))
    statements = [
        statement("S0", "top", ("i",), read("X", "i", "j"), both, 1, "max", True),
        statement("S1", "E", ("i", "j"), shifted, both, 2),
        statement("S2", "total", ("i",), read("E", "i", "j"), both, 1, "+", True),
        statement("S3", "Y", ("i", "j"), tree.Binary("/", read("E", "i", "j"), read("total", "i"), dtype=F32), both, 2),
    ]
    return program("softmax", tensors, statements, [s for s in (m, n) if isinstance(s, str)])


def scan_program(t, d):
    tensors = {"X": ((t, d), Role.INPUT), "O": ((t, d), Role.OUTPUT)}
    statements = [
        statement("S0", "O", (0, "d"), read("X", 0, "d"), [("d", d)], 1),
        statement("S1", "O", ("t", "d"), plus(read("O", "t-1", "d"), read("X", "t", "d")), [("t", 1, t), ("d", d)], 2),
    ]
    found = program("scan", tensors, statements, [s for s in (t, d) if isinstance(s, str)])
    first_row = Precondition(tree.Binary("<=", size(1), size(t), dtype=ScalarType.BOOL), "O(0, d) needs a row")
    return replace(found, preconditions=(first_row,))


def stencil_program(n):
    """B(i) from three neighbours of A, then C(i) from B: two statements to fuse or not."""
    tensors = {"A": ((n,), Role.INPUT), "B": ((n,), Role.TEMPORARY), "C": ((n,), Role.OUTPUT)}
    neighbours = plus(plus(read("A", "i-1"), read("A", "i")), read("A", "i+1"))
    statements = [
        statement("S0", "B", ("i",), neighbours, [("i", 1, f"{n}-1")], 1),
        statement("S1", "C", ("i",), plus(read("B", "i-1"), read("B", "i+1")), [("i", 2, f"{n}-2")], 1),
    ]
    return program("stencil", tensors, statements, [n] if isinstance(n, str) else [])


# --- kernels ------------------------------------------------------------------------------------------------


def load(buffer, *subscripts, access=None):
    return ir.Load(buffer, integers(*subscripts), F32, access)


def store(buffer, subscripts, value, run=None, role=ir.StoreRole.EXECUTE):
    """`run`: (statement, point...)."""
    instance = None if run is None else ir.Instance(run[0], integers(*run[1:]))
    return ir.Store(buffer, integers(*subscripts), value, role, instance)


def constant(x):
    return ir.Const(float(x), F32)


def loop(variable, lower, upper, *body, step=1):
    return ir.Loop(variable, integer(lower), integer(upper), body, step)


def axis(variable, start, extent, limit=None):
    return ir.Axis(variable, integer(start), extent, None if limit is None else integer(limit))


def tile(lanes, *body, rows=None):
    return ir.Tile(rows, lanes, body)


def buffer(name, shape, space, promoted_from=None):
    return ir.Buffer(name, F32, integers(*shape), space, promoted_from=promoted_from)


def kernel_of(source, stages, local=()):
    """The kernel of a program: its tensors as buffers, plus `local` ones.  `stages`: Stage or node tuples."""
    spaces = {Role.INPUT: ir.Space.INPUT, Role.OUTPUT: ir.Space.OUTPUT, Role.TEMPORARY: ir.Space.WORKSPACE}

    def extent(e):
        return ir.Int(int(e.value)) if isinstance(e, tree.Number) else ir.Var(e.id)

    buffers = [ir.Buffer(t.name, F32, tuple(map(extent, t.shape)), spaces[t.role]) for t in source.tensors]
    made = tuple(s if isinstance(s, ir.Stage) else ir.Stage(f"stage{i}", tuple(s)) for i, s in enumerate(stages))
    return ir.Kernel(source.name, source.sizes, (), (*buffers, *local), made)


def stage(parallel, *body, name="stage0"):
    return ir.Stage(name, body, replace(parallel, body=()))


def matmul_plain(m, n, k):
    source = matmul_program(m, n, k)
    init = store("C", ("m", "n"), constant(0), ("S0_init", "m", "n"))
    value = ir.Fma(load("A", "m", "k", access=1), load("B", "k", "n", access=2), load("C", "m", "n", access=3), F32)
    update = store("C", ("m", "n"), value, ("S0", "m", "n", "k"))
    body = loop("n", 0, n, init, loop("k", 0, k, update))
    return source, kernel_of(source, [stage(loop("m", 0, m), body)])


def matmul_tiled(m, n, k):
    """Rows of blocks in parallel; 8 lanes of n with a limit; C in memory."""
    source = matmul_program(m, n, k)
    lanes = axis("l", "nt", 8, n)
    init = store("C", ("m", "l"), constant(0), ("S0_init", "m", "l"))
    value = ir.Fma(load("A", "m", "k", access=1), load("B", "k", "l", access=2), load("C", "m", "l", access=3), F32)
    update = store("C", ("m", "l"), value, ("S0", "m", "l", "k"))
    inner = loop("nt", 0, n, tile(lanes, init), loop("k", 0, k, tile(lanes, update)), step=8)
    rows = loop("m", "mt", least("mt+4", m), inner)
    return source, kernel_of(source, [stage(loop("mt", 0, m, step=4), rows)])


def matmul_packed(m, n, k, *, mb=24, mr=4, nr=16, kb=32):
    """Blocks of rows in parallel; both operands packed; a register tile copied in and out of C.

    The last row and lane tiles are full: padding is filled with zeros, runs, and is not copied out.
    """
    source = matmul_program(m, n, k)
    rows, lanes = axis("r", 0, mr), axis("l", 0, nr)
    some_rows, some_lanes = axis("r", 0, mr, f"{m}-i"), axis("l", 0, nr, f"{n}-jt")
    k_end = least(f"kt+{kb}", k)
    zero_a = loop("r", 0, mb, store("packA", ("k-kt", "r"), constant(0), role=FILL))
    pack_a = loop("r", 0, least(mb, f"{m}-it"), store("packA", ("k-kt", "r"), load("A", "it+r", "k"), role=COPY))
    zero_b = tile(lanes, store("packB", ("k-kt", "l"), constant(0), role=FILL))
    pack_b = tile(some_lanes, store("packB", ("k-kt", "l"), load("B", "k", "jt+l"), role=COPY))
    copy_in = tile(some_lanes, store("acc", ("r", "l"), load("C", "i+r", "jt+l"), role=COPY), rows=some_rows)
    a, b = load("packA", "k-kt", "i+r-it", access=1), load("packB", "k-kt", "l", access=2)
    value = ir.Fma(a, b, load("acc", "r", "l", access=3), F32)
    update = tile(lanes, store("acc", ("r", "l"), value, ("S0", "i+r", "jt+l", "k")), rows=rows)
    copy_out = tile(some_lanes, store("C", ("i+r", "jt+l"), load("acc", "r", "l"), role=COPY), rows=some_rows)
    blocks = loop("i", "it", least(f"it+{mb}", m), copy_in, loop("k", "kt", k_end, update), copy_out, step=mr)
    panel = loop("jt", 0, n, loop("k", "kt", k_end, zero_b, pack_b), blocks, step=nr)
    init = store("C", ("i", "j"), constant(0), ("S0_init", "i", "j"))
    body = (
        loop("i", "it", least(f"it+{mb}", m), loop("j", 0, n, init)),
        loop("kt", 0, k, loop("k", "kt", k_end, zero_a, pack_a), panel, step=kb),
    )
    local = (
        buffer("packA", (kb, mb), ir.Space.SCRATCH, "A"),
        buffer("packB", (kb, nr), ir.Space.SCRATCH, "B"),
        buffer("acc", (mr, nr), ir.Space.REGISTER, "C"),
    )
    return source, kernel_of(source, [stage(loop("it", 0, m, step=mb), *body)], local)


def softmax_rows(m, n, *, lanes=8):
    """One row a unit: reductions split over lanes, E kept in private memory, scalars in registers."""
    source = softmax_program(m, n)
    whole = axis("l", 0, lanes)
    some = axis("l", 0, lanes, f"{n}-jt")

    def reduce(statement, op, value, acc, scalar, start):
        update = ir.BinaryOp(op, load(acc, "l", access=2), value, F32)
        run = store(acc, ("l",), update, (statement, "i", "jt+l"))
        into = ir.BinaryOp(op, load(scalar), ir.Fold(op, load(acc, "l"), "l", F32), F32)
        return (
            tile(whole, store(acc, ("l",), constant(start), role=FILL)),
            store(scalar, (), constant(start), (f"{statement}_init", "i")),
            loop("jt", 0, n, tile(some, run), step=lanes),
            tile(whole, store(scalar, (), into, role=COMBINE)),
        )

    shifted = ir.BinaryOp("-", load("X", "i", "jt+l", access=1), load("topv", access=2), F32)
    exps = store("row", ("jt+l",), ir.Builtin("exp", (shifted,), F32), ("S1", "i", "jt+l"))
    quotient = ir.BinaryOp("/", load("row", "jt+l", access=1), load("totalv", access=2), F32)
    out = store("Y", ("i", "jt+l"), quotient, ("S3", "i", "jt+l"))
    body = (
        *reduce("S0", "max", load("X", "i", "jt+l", access=1), "acc", "topv", float("-inf")),
        loop("jt", 0, n, tile(some, exps), step=lanes),
        *reduce("S2", "+", load("row", "jt+l", access=1), "acc", "totalv", 0),
        loop("jt", 0, n, tile(some, out), step=lanes),
    )
    local = (
        buffer("acc", (lanes,), ir.Space.REGISTER),
        buffer("topv", (), ir.Space.REGISTER, "top"),
        buffer("totalv", (), ir.Space.REGISTER, "total"),
        buffer("row", (n,), ir.Space.SCRATCH, "E"),
    )
    return source, kernel_of(source, [stage(loop("i", 0, m), *body)], local)


def scan_lanes(t, d):
    source = scan_program(t, d)
    lanes = axis("l", "dt", 8, d)
    first = store("O", (0, "l"), load("X", 0, "l", access=1), ("S0", "l"))
    value = ir.BinaryOp("+", load("O", "t-1", "l", access=1), load("X", "t", "l", access=2), F32)
    later = store("O", ("t", "l"), value, ("S1", "t", "l"))
    body = (tile(lanes, first), loop("t", 1, t, tile(lanes, later)))
    return source, kernel_of(source, [stage(loop("dt", 0, d, step=8), *body)])


def stencil_stages(n):
    source = stencil_program(n)
    neighbours = ir.BinaryOp("+", load("A", "i-1", access=1), load("A", "i", access=2), F32)
    first = store("B", ("i",), ir.BinaryOp("+", neighbours, load("A", "i+1", access=3), F32), ("S0", "i"))
    second = store(
        "C", ("i",), ir.BinaryOp("+", load("B", "i-1", access=1), load("B", "i+1", access=2), F32), ("S1", "i")
    )
    stages = [
        stage(loop("i", 1, f"{n}-1"), first, name="stage0"),
        stage(loop("i", 2, f"{n}-2"), second, name="stage1"),
    ]
    return source, kernel_of(source, stages)

"""Loop programs written down by hand, for tests of the compiler's middle (no text, no inference involved)."""

from __future__ import annotations

from dataclasses import replace

from comprehension.lang.loops import Index, LoopProgram, LoopStatement, Precondition, Role, TensorInfo
from comprehension.lang.tree import Access, Binary, Call, Expr, Name, Number, ReduceOp, Select
from comprehension.lang.types import ScalarType

F32, I32, BOOL = ScalarType.FLOAT32, ScalarType.INT32, ScalarType.BOOL

Size = int | str
Subscript = str | int | Expr


def name(text: str) -> Name:
    return Name(text, dtype=I32)


def number(value: float) -> Number:
    return Number(value, dtype=I32 if isinstance(value, int) else F32)


def integer(value: Subscript) -> Expr:
    return name(value) if isinstance(value, str) else number(value) if isinstance(value, int) else value


def read(tensor: str, *subscripts: Subscript, dtype: ScalarType = F32) -> Access:
    return Access(tensor, tuple(integer(s) for s in subscripts), dtype=dtype)


def op(sign: str, left: Expr, right: Expr) -> Binary:
    dtype = BOOL if sign in ("<", "<=", ">", ">=", "==", "!=", "&&", "||") else left.dtype
    return Binary(sign, left, right, dtype=dtype)  # type: ignore[arg-type]


def iop(sign: str, left: Subscript, right: Subscript) -> Binary:
    return op(sign, integer(left), integer(right))


def call(function: str, *arguments: Expr) -> Call:
    return Call(function, arguments, dtype=arguments[0].dtype)


def select(condition: Expr, then: Expr, otherwise: Expr) -> Select:
    return Select(condition, then, otherwise, dtype=then.dtype)


def tensor(text: str, shape: tuple[Size, ...], role: Role, dtype: ScalarType = F32) -> TensorInfo:
    return TensorInfo(text, dtype, tuple(integer(s) for s in shape), role)


def given(text: str, *shape: Size) -> TensorInfo:
    return tensor(text, shape, Role.INPUT)


def made(text: str, *shape: Size) -> TensorInfo:
    return tensor(text, shape, Role.OUTPUT)


def between(text: str, *shape: Size) -> TensorInfo:
    return tensor(text, shape, Role.TEMPORARY)


def statement(
    text: str,
    target: str,
    subscripts: tuple[Subscript, ...],
    value: Expr,
    indices: dict[str, Size | tuple[Subscript, Subscript]],
    left: int | None = None,
    reduction: ReduceOp | None = None,
    initialise: bool = False,
) -> LoopStatement:
    ranges = tuple(
        Index(index, *(integer(b) for b in (bound if isinstance(bound, tuple) else (0, bound))))
        for index, bound in indices.items()
    )
    where = tuple(integer(s) for s in subscripts)
    return LoopStatement(
        text, target, where, value, ranges, len(subscripts) if left is None else left, reduction, initialise
    )


def program(text: str, tensors: list[TensorInfo], statements: list[LoopStatement]) -> LoopProgram:
    sizes = [part.id for info in tensors for part in info.shape if isinstance(part, Name)]
    return LoopProgram(text, tuple(dict.fromkeys(sizes)), (), tuple(tensors), tuple(statements))


# --- the kernels -----------------------------------------------------------------------------------------


def matmul(m: Size, n: Size, k: Size) -> LoopProgram:
    product = op("*", read("A", "m", "k"), read("B", "k", "n"))
    update = statement("S0", "C", ("m", "n"), product, {"m": m, "n": n, "k": k}, 2, "+", True)
    return program("matmul", [given("A", m, k), given("B", k, n), made("C", m, n)], [update])


def linear(m: Size, n: Size, k: Size) -> LoopProgram:
    product = op("*", read("A", "m", "k"), read("B", "k", "n"))
    total = op("+", read("T", "m", "n"), read("b", "n"))
    return program(
        "linear",
        [given("A", m, k), given("B", k, n), given("b", n), between("T", m, n), made("C", m, n)],
        [
            statement("S0", "T", ("m", "n"), product, {"m": m, "n": n, "k": k}, 2, "+", True),
            statement("S1", "C", ("m", "n"), call("max", total, number(0.0)), {"m": m, "n": n}),
        ],
    )


def transposed_matmul(m: Size, n: Size, k: Size) -> LoopProgram:
    product = op("*", read("A", "k", "m"), read("B", "n", "k"))
    update = statement("S0", "C", ("m", "n"), product, {"m": m, "n": n, "k": k}, 2, "+", True)
    return program("transposed_matmul", [given("A", k, m), given("B", n, k), made("C", m, n)], [update])


def batched_matmul(b: Size, m: Size, n: Size, k: Size) -> LoopProgram:
    product = op("*", read("A", "b", "m", "k"), read("B", "b", "k", "n"))
    ranges: dict[str, Size | tuple[Subscript, Subscript]] = {"b": b, "m": m, "n": n, "k": k}
    update = statement("S0", "C", ("b", "m", "n"), product, ranges, 3, "+", True)
    return program("batched_matmul", [given("A", b, m, k), given("B", b, k, n), made("C", b, m, n)], [update])


def chained_matmuls(b: Size, m: Size, n: Size, k: Size, p: Size) -> LoopProgram:
    """T = A B, C = T D for each b; only the batch loop can be shared."""
    first = op("*", read("A", "b", "i", "k"), read("B", "b", "k", "j"))
    second = op("*", read("T", "b", "i", "j"), read("D", "j", "l"))
    return program(
        "chained_matmuls",
        [given("A", b, m, k), given("B", b, k, n), given("D", n, p), between("T", b, m, n), made("C", b, m, p)],
        [
            statement("S0", "T", ("b", "i", "j"), first, {"b": b, "i": m, "j": n, "k": k}, 3, "+", True),
            statement("S1", "C", ("b", "i", "l"), second, {"b": b, "i": m, "l": p, "j": n}, 3, "+", True),
        ],
    )


def softmax(i: Size, j: Size) -> LoopProgram:
    both: dict[str, Size | tuple[Subscript, Subscript]] = {"i": i, "j": j}
    power = call("exp", op("-", read("X", "i", "j"), read("M", "i")))
    return program(
        "softmax",
        [given("X", i, j), made("Y", i, j), between("M", i), between("E", i, j), between("S", i)],
        [
            statement("S0", "M", ("i",), read("X", "i", "j"), both, 1, "max", True),
            statement("S1", "E", ("i", "j"), power, both),
            statement("S2", "S", ("i",), read("E", "i", "j"), both, 1, "+", True),
            statement("S3", "Y", ("i", "j"), op("/", read("E", "i", "j"), read("S", "i")), both),
        ],
    )


def column_sum(i: Size, j: Size) -> LoopProgram:
    update = statement("S0", "S", ("j",), read("X", "i", "j"), {"j": j, "i": i}, 1, "+", True)
    return program("column_sum", [given("X", i, j), made("S", j)], [update])


def total(i: Size, j: Size) -> LoopProgram:
    update = statement("S0", "S", (), read("X", "i", "j"), {"i": i, "j": j}, 0, "+", True)
    return program("total", [given("X", i, j), made("S")], [update])


def transpose(i: Size, j: Size) -> LoopProgram:
    move = statement("S0", "Y", ("j", "i"), read("X", "i", "j"), {"j": j, "i": i})
    return program("transpose", [given("X", i, j), made("Y", j, i)], [move])


def scan(t: Size, d: Size) -> LoopProgram:
    first = statement("S0", "O", (0, "d"), read("X", 0, "d"), {"d": d}, 1)
    decayed = op("*", read("a", "d"), read("O", iop("-", "t", 1), "d"))
    later = statement("S1", "O", ("t", "d"), op("+", decayed, read("X", "t", "d")), {"t": (1, t), "d": d})
    scanned = program("scan", [given("a", d), given("X", t, d), made("O", t, d)], [first, later])
    first_row = Precondition(iop("<=", 1, t), "the first row exists")
    return replace(scanned, preconditions=(first_row,)) if scanned.sizes else scanned


def triangle(n: Size) -> LoopProgram:
    update = statement("S0", "S", ("i",), read("X", "i", "j"), {"i": n, "j": (0, iop("+", "i", 1))}, 1, "+", True)
    return program("triangle", [given("X", n, n), made("S", n)], [update])


def conv2d(n: int, c: int, h: int, w: int, f: int, k: int) -> LoopProgram:
    pixel = read("I", "n", "c", iop("+", "y", "p"), iop("+", "x", "q"))
    product = op("*", pixel, read("W", "f", "c", "p", "q"))
    ranges: dict[str, Size | tuple[Subscript, Subscript]] = {
        "n": n, "f": f, "y": h - k + 1, "x": w - k + 1, "c": c, "p": k, "q": k,
    }  # fmt: skip
    update = statement("S0", "O", ("n", "f", "y", "x"), product, ranges, 4, "+", True)
    tensors = [given("I", n, c, h, w), given("W", f, c, k, k), made("O", n, f, h - k + 1, w - k + 1)]
    return program("conv2d", tensors, [update])


def conv2d_padded(n: int, c: int, h: int, w: int, f: int, k: int) -> LoopProgram:
    """Same-size convolution: reads outside of the image are zero, by a guard."""
    y, x = iop("-", iop("+", "y", "p"), k // 2), iop("-", iop("+", "x", "q"), k // 2)
    inside = op("&&", op("&&", iop(">=", y, 0), iop("<", y, h)), op("&&", iop(">=", x, 0), iop("<", x, w)))
    pixel = select(inside, read("I", "n", "c", y, x), number(0.0))
    ranges: dict[str, Size | tuple[Subscript, Subscript]] = {
        "n": n, "f": f, "y": h, "x": w, "c": c, "p": k, "q": k,
    }  # fmt: skip
    product = op("*", pixel, read("W", "f", "c", "p", "q"))
    update = statement("S0", "O", ("n", "f", "y", "x"), product, ranges, 4, "+", True)
    return program("conv2d_padded", [given("I", n, c, h, w), given("W", f, c, k, k), made("O", n, f, h, w)], [update])


def conv2d_weight_gradient(n: int, c: int, h: int, w: int, f: int, k: int) -> LoopProgram:
    pixel = read("I", "n", "c", iop("+", "y", "p"), iop("+", "x", "q"))
    ranges: dict[str, Size | tuple[Subscript, Subscript]] = {
        "f": f, "c": c, "p": k, "q": k, "n": n, "y": h - k + 1, "x": w - k + 1,
    }  # fmt: skip
    product = op("*", pixel, read("G", "n", "f", "y", "x"))
    update = statement("S0", "D", ("f", "c", "p", "q"), product, ranges, 4, "+", True)
    tensors = [given("I", n, c, h, w), given("G", n, f, h - k + 1, w - k + 1), made("D", f, c, k, k)]
    return program("conv2d_weight_gradient", tensors, [update])


def lookup(b: Size, n: Size, rows: Size, d: Size) -> LoopProgram:
    row = read("I", "b", "l", dtype=I32)
    update = statement("S0", "O", ("b", "d"), read("T", row, "d"), {"b": b, "d": d, "l": n}, 2, "+", True)
    return program("lookup", [tensor("I", (b, n), Role.INPUT, I32), given("T", rows, d), made("O", b, d)], [update])


def pointwise_chain(i: Size, j: Size, length: int) -> LoopProgram:
    both: dict[str, Size | tuple[Subscript, Subscript]] = {"i": i, "j": j}
    tensors, statements = [given("X", i, j), given("b", j)], []
    for step in range(length):
        before = "X" if step == 0 else f"T{step - 1}"
        last = step == length - 1
        tensors.append((made if last else between)(f"T{step}", i, j))
        value = op("+" if step % 2 else "*", read(before, "i", "j"), read("b", "j"))
        statements.append(statement(f"S{step}", f"T{step}", ("i", "j"), value, both))
    return program("chain", tensors, statements)

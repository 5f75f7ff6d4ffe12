"""The verifier of KernelIR finds every kind of malformed kernel, and the printer shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comprehension.kernel import ir
from comprehension.kernel.ir import (
    Axis,
    BinaryOp,
    Buffer,
    Const,
    Int,
    IntOp,
    Load,
    Loop,
    Space,
    Stage,
    Store,
    Tile,
    Var,
)
from comprehension.kernel.printer import to_text
from comprehension.kernel.verify import KernelError, verify_kernel
from comprehension.lang.types import ScalarType as T

F32, I32 = T.FLOAT32, T.INT32
M, L = Var("m"), Var("l")


def row_sums() -> ir.Kernel:
    """Y(m) = sum of A(m, l) over tiles of 8 lanes: loops, tiles, registers and folds in one kernel."""
    local = IntOp("-", L, IntOp("*", Var("b"), Int(8)))
    fill = Tile(None, Axis("l", Int(0), 8), (Store("acc", (L,), Const(0.0, F32), ir.StoreRole.FILL),))
    step = BinaryOp("+", Load("acc", (local,), F32), Load("A", (M, L), F32), F32)
    update = Tile(
        None,
        Axis("l", IntOp("*", Var("b"), Int(8)), 8, Var("N")),
        (Store("acc", (local,), step, instance=ir.Instance("S0", (M, L))),),
    )
    fold = ir.Fold("+", Load("acc", (L,), F32), "l", F32)
    finish = Tile(None, Axis("l", Int(0), 8), (Store("Y", (M,), fold, ir.StoreRole.COMBINE),))
    blocks = IntOp("/", IntOp("+", Var("N"), Int(7)), Int(8))
    body = (fill, Loop("b", Int(0), blocks, (update,), unroll=2), finish)
    buffers = (
        Buffer("A", F32, (Int(4), Var("N")), Space.INPUT),
        Buffer("Y", F32, (Int(4),), Space.OUTPUT),
        Buffer("acc", F32, (Int(8),), Space.REGISTER, promoted_from="Y"),
    )
    return ir.Kernel("row_sums", ("N",), (("alpha", F32),), buffers, (Stage("s", body, Loop("m", Int(0), Int(4), ())),))


def with_body(*body: ir.Node) -> ir.Kernel:
    kernel = row_sums()
    return replace(kernel, stages=(replace(kernel.stages[0], body=body),))


def with_buffer(index: int, **changes: object) -> ir.Kernel:
    kernel = row_sums()
    buffers = list(kernel.buffers)
    buffers[index] = replace(buffers[index], **changes)  # type: ignore[arg-type]
    return replace(kernel, buffers=tuple(buffers))


def stored(value: ir.Value, *subscripts: ir.IntExpr) -> ir.Store:
    return Store("Y", subscripts or (M,), value)


def with_stage(**changes: object) -> ir.Kernel:
    kernel = row_sums()
    return replace(kernel, stages=(replace(kernel.stages[0], **changes),))  # type: ignore[arg-type]


A_M0 = Load("A", (M, Int(0)), F32)
A_ML = Load("A", (M, L), F32)
TRUE = Const(True, T.BOOL)
MALFORMED: list[tuple[str, ir.Kernel]] = [
    ("declared twice", with_buffer(1, name="A")),
    ("constant shape", with_buffer(2, shape=(Var("N"),))),
    ("float64 stands for 'Y', which is float32", with_buffer(2, dtype=T.FLOAT64)),
    ("strides for", with_buffer(0, strides=(Int(1),))),
    ("two stages", replace(row_sums(), stages=row_sums().stages * 2)),
    ("grain 0", with_stage(grain=0)),
    ("body of its own", with_stage(parallel=Loop("m", Int(0), Int(4), (stored(A_M0),)))),
    ("'z' is not defined", with_body(stored(Load("A", (Var("z"), Int(0)), F32)))),
    ("hides another", with_body(Loop("m", Int(0), Int(2), (stored(A_M0),)))),
    ("must be positive", with_body(Loop("i", Int(0), Int(2), (stored(A_M0),), step=0))),
    ("no buffer", with_body(Store("Z", (M,), A_M0))),
    ("writes to the input", with_body(Store("A", (M, M), A_M0))),
    ("2 subscripts, it has 1", with_body(stored(A_M0, M, M))),
    ("as int32, it holds float32", with_body(stored(Const(1, I32)))),
    ("is no int32", with_body(stored(ir.Convert(Const(1 << 40, I32), F32)))),
    ("is float64, not float32", with_body(stored(BinaryOp("+", A_M0, Const(1.0, T.FLOAT64), F32)))),
    ("gives bool, not float32", with_body(stored(BinaryOp("<", A_M0, A_M0, F32)))),
    ("of bool gives", with_body(stored(ir.Convert(BinaryOp("+", TRUE, TRUE, T.BOOL), F32)))),
    ("is float32, not bool", with_body(stored(ir.SelectValue(A_M0, A_M0, A_M0, F32)))),
    ("works on floats", with_body(stored(ir.Convert(ir.Builtin("exp", (Const(1, I32),), I32), F32)))),
    ("works on floats", with_body(stored(ir.Convert(ir.Fma(Const(1, I32), Const(1, I32), Const(1, I32), I32), F32)))),
    ("'t' of type float32 is not defined", with_body(stored(ir.Local("t", F32)))),
    ("is int32", with_body(ir.Define("t", Const(1, I32)), stored(ir.Local("t", F32)))),
    ("no scalar parameter", with_body(stored(ir.ScalarArg("beta", F32)))),
    ("an index as float32", with_body(stored(ir.IndexValue(M, F32)))),
    ("subscript of type float32", with_body(stored(Load("A", (M, ir.FromValue(A_M0)), F32)))),
    ("divides by 0", with_body(stored(Load("A", (M, IntOp("/", M, Int(0))), F32)))),
    ("folds along 'l'", with_body(stored(ir.Fold("+", A_M0, "l", F32)))),
    ("the place it is stored to does not", with_body(Tile(None, Axis("l", Int(0), 8), (stored(A_ML),)))),
    ("extent 0", with_body(Tile(None, Axis("l", Int(0), 0), (stored(A_M0),)))),
    ("a tile of 8192 points", with_body(Tile(Axis("r", Int(0), 64), Axis("l", Int(0), 128), (stored(A_M0),)))),
    ("both axes are called 'l'", with_body(Tile(Axis("l", Int(0), 2), Axis("l", Int(0), 8), (stored(A_M0),)))),
    ("a copy moves one element", with_body(Store("Y", (M,), Const(0.0, F32), ir.StoreRole.COPY))),
    ("a fill stores a constant", with_body(Store("Y", (M,), A_M0, ir.StoreRole.FILL))),
    ("executes no instance", with_body(Store("Y", (M,), A_M0, ir.StoreRole.COPY, ir.Instance("S0", (M,))))),
]  # fmt: skip


def test_a_good_kernel_passes() -> None:
    verify_kernel(row_sums())


@pytest.mark.parametrize(("message", "kernel"), MALFORMED, ids=[m for m, _ in MALFORMED])
def test_a_malformed_kernel_is_refused(message: str, kernel: ir.Kernel) -> None:
    with pytest.raises(KernelError) as caught:
        verify_kernel(kernel)
    assert message in str(caught.value)


def test_all_faults_are_listed_at_once() -> None:
    kernel = with_body(stored(Load("A", (Var("z"), Int(0)), F32)), Store("Z", (M,), A_M0))
    with pytest.raises(KernelError) as caught:
        verify_kernel(kernel)
    assert "'z' is not defined" in str(caught.value) and "no buffer" in str(caught.value)


def test_the_printer_shows_everything() -> None:
    assert (
        to_text(row_sums())
        == """\
kernel row_sums(N, float32 alpha)
  input float32 A(4, N)
  output float32 Y(4)
  register float32 acc(8) for Y
  stage s: parallel m in 0:4 grain 1
    tile l in 0+8:
      acc(l) = float32 0.0  # fill
    for b in 0:((N + 7) / 8) unroll 2:
      tile l in (b * 8)+8 below N:
        acc((l - (b * 8))) = (acc((l - (b * 8))) + A(m, l))  # S0(m, l)
    tile l in 0+8:
      Y(m) = fold[+ over l](acc(l))  # combine"""
    )

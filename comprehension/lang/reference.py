"""The reference interpreter: a LoopProgram run as the text says, one element at a time.

In: a LoopProgram whose sizes have values, arrays for its inputs.  Out: arrays for its outputs.
Invariant: no compiler, no isl, no vectorised NumPy: statements in the order of the text, loops in lexicographic
order, every operation rounded or wrapped to its own type by `scalars` (reference section 10).  It is the oracle
that every other way of running a comprehension is compared with, so it is written to be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, assert_never

import numpy as np

from comprehension.errors import ComprehensionError
from comprehension.lang import scalars, tree
from comprehension.lang.loops import LoopProgram, LoopStatement, Role, TensorInfo
from comprehension.lang.scalars import Scalar
from comprehension.lang.types import ScalarType

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = Mapping[str, Array]

MAX_ELEMENTS = 2**31 - 1


def run(
    program: LoopProgram,
    inputs: Arrays,
    values: Mapping[str, Any] | None = None,
    out: Mapping[str, Array] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, Array]:
    """The outputs by name.

    Args:
        inputs: an array for each input tensor, of the program's dtype and shape.
        values: a number for each scalar parameter.
        out: arrays to write into; elements that no statement writes stay as they are.
        sizes: a value for each symbolic size of the program.

    Raises:
        ComprehensionError: for a precondition that does not hold, an indirect subscript out of bounds, or a
            tensor too large.
    """
    return _Interpreter(program, inputs, values or {}, out or {}, sizes or {}).run()


class _Interpreter:
    def __init__(
        self, program: LoopProgram, inputs: Arrays, values: Mapping[str, Any], out: Arrays, sizes: Mapping[str, int]
    ) -> None:
        self.program = program
        self.names: dict[str, Scalar] = {name: np.int32(sizes[name]) for name in program.sizes}
        for scalar in program.scalars:
            self.names[scalar.name] = scalars.cast(values[scalar.name], scalar.dtype)
        self._check_preconditions()
        self.tensors: dict[str, Array] = {}
        for info in program.tensors:
            given = inputs if info.role is Role.INPUT else out
            self.tensors[info.name] = given[info.name] if info.name in given else self._fresh(info)

    def run(self) -> dict[str, Array]:
        for statement in self.program.statements:
            self._run_statement(statement)
        results = (Role.OUTPUT, Role.ACCUMULATED)
        return {info.name: self.tensors[info.name] for info in self.program.tensors if info.role in results}

    def _fresh(self, info: TensorInfo) -> Array:
        if info.role is Role.INPUT:
            raise ComprehensionError(f"no array was given for input {info.name}")
        shape = tuple(max(0, int(self._evaluate(extent))) for extent in info.shape)
        if prod(shape) > MAX_ELEMENTS:
            raise ComprehensionError(f"{info.name} would have shape {shape}, more than {MAX_ELEMENTS} elements")
        return np.zeros(shape, info.dtype.numpy)

    def _check_preconditions(self) -> None:
        for precondition in self.program.preconditions:
            if not self._evaluate(precondition.condition):
                raise ComprehensionError(precondition.message)

    def _run_statement(self, statement: LoopStatement) -> None:
        target = self.tensors[statement.target]
        identity = (
            scalars.reduce_identity(statement.reduction, ScalarType.of(target.dtype))
            if statement.initialise and statement.reduction is not None
            else None
        )
        outer = dict(self.names)
        for _ in self._points(statement, 0, statement.left):
            if identity is not None:
                target[self._subscripts(statement.target, statement.subscripts)] = identity
            for _ in self._points(statement, statement.left, len(statement.indices)):
                self._execute(statement, target)
        self.names = outer

    def _points(self, statement: LoopStatement, depth: int, end: int) -> Iterator[None]:
        """Sets the indices `depth`, ..., `end - 1` to each of their values in lexicographic order."""
        if depth == end:
            yield
            return
        index = statement.indices[depth]
        for value in range(int(self._evaluate(index.lower)), int(self._evaluate(index.upper))):
            self.names[index.name] = np.int32(value)
            yield from self._points(statement, depth + 1, end)

    def _execute(self, statement: LoopStatement, target: Array) -> None:
        for let in statement.lets:
            self.names[let.name] = self._evaluate(let.value)
        where = self._subscripts(statement.target, statement.subscripts)
        value = self._evaluate(statement.value)
        if statement.reduction is not None:
            dtype = ScalarType.of(target.dtype)
            value = scalars.binary(statement.reduction, target[where], scalars.cast(value, dtype), dtype)
        target[where] = value

    def _subscripts(self, tensor: str, subscripts: tuple[tree.Expr, ...]) -> tuple[int, ...]:
        where = tuple(int(self._evaluate(s)) for s in subscripts)
        shape = self.tensors[tensor].shape
        if any(not 0 <= i < extent for i, extent in zip(where, shape, strict=True)):
            raise ComprehensionError(f"{tensor}{where} is out of bounds: {tensor} has shape {shape}")
        return where

    def _evaluate(self, node: tree.Expr) -> Scalar:
        dtype = node.dtype
        match node:
            case tree.Number(value=value):
                literal = ScalarType.INT32 if isinstance(value, int) else ScalarType.FLOAT32
                return scalars.cast(value, dtype or literal)
            case tree.Name(id=name):
                return self.names[name]
            case tree.Access(tensor=tensor, subscripts=subscripts):
                return self.tensors[tensor][self._subscripts(tensor, subscripts)]
            case tree.SizeOf(tensor=tensor, axis=axis):
                return np.int32(self.tensors[tensor].shape[axis])
            case tree.Cast(to=to, operand=operand):
                return scalars.cast(self._evaluate(operand), to)
            case tree.Select(condition=condition, then=then, otherwise=otherwise):
                return self._evaluate(then if self._evaluate(condition) else otherwise)
            case tree.Unary(op=op, operand=operand):
                value = self._evaluate(operand)
                return scalars.unary(op, value, dtype or ScalarType.of(value.dtype))
            case tree.Binary(op="&&", left=left, right=right):
                return np.bool_(bool(self._evaluate(left)) and bool(self._evaluate(right)))
            case tree.Binary(op="||", left=left, right=right):
                return np.bool_(bool(self._evaluate(left)) or bool(self._evaluate(right)))
            case tree.Binary(op=op, left=left, right=right):
                first, second = self._evaluate(left), self._evaluate(right)
                result = ScalarType.BOOL if op in _RELATIONS else dtype or ScalarType.of(first.dtype)
                return scalars.binary(op, first, second, result)
            case tree.Call(function="min" | "max" as op, arguments=(left, right)):
                first, second = self._evaluate(left), self._evaluate(right)
                return scalars.binary(op, first, second, dtype or ScalarType.of(first.dtype))
            case tree.Call(function=function, arguments=arguments):
                values = [self._evaluate(a) for a in arguments]
                return scalars.builtin(function, values, dtype or ScalarType.of(values[0].dtype))
            case _:
                assert_never(node)


_RELATIONS = ("<", "<=", ">", ">=", "==", "!=")

"""The reference interpreter: a LoopProgram as the plain loops that it means.

In: a `LoopProgram`, arrays by name, scalars by name.  Out: the output arrays by name.
Invariant: this is what a comprehension means.  Statements run in the order of the text, each as nested loops in
lexicographic order; every operation rounds or wraps in its own type; nothing is vectorised, reordered or compiled.
Every access is checked: outside its tensor it is a ComprehensionError, never a wrapped index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, assert_never

import numpy as np

from comprehension.errors import ComprehensionError, Diagnostic, listed
from comprehension.lang.builtins import BUILTINS, evaluate
from comprehension.lang.limits import check_shape
from comprehension.lang.loops import LoopProgram, LoopStatement, Role, TensorInfo
from comprehension.lang.scalars import EXACT, Value, arithmetic, convert, from_storage, identity, negate
from comprehension.lang.tree import (
    Access,
    Binary,
    Call,
    Cast,
    Expr,
    Let,
    Name,
    Number,
    Select,
    SizeOf,
    Span,
    Unary,
    walk,
)
from comprehension.lang.types import ScalarType

Array = np.ndarray[Any, Any]
Names = dict[str, Value]  # indices, sizes, scalars and lets at a point
Evaluate = Callable[[Names], Value]
EXACTLY = "'"  # behind the name of a let: what it is in subscripts, under a name that no text has


def run(
    program: LoopProgram,
    arrays: Mapping[str, Array],
    scalars: Mapping[str, Any] | None = None,
    out: Mapping[str, Array] | None = None,
    text: str | None = None,
) -> dict[str, Array]:
    """Runs `program` on `arrays` (inputs, by name) and returns its outputs; those in `out` are written in place.

    `text` is the program's source, for the carets of messages.

    Arrays have the program's dtypes and shapes (any strides); scalars are Python or NumPy numbers.
    Raises ComprehensionError for a violated precondition, an access out of bounds, and an accumulating output without
    `out`.

    >>> from comprehension.lang.check import check
    >>> from comprehension.lang.parser import parse
    >>> from comprehension.lang.ranges import infer
    >>> f = check(parse("def dot(float(N) A, float(N) B) -> (C) { C +=! A(i) * B(i) }"))["dot"]
    >>> ones = np.ones(3, np.float32)
    >>> run(infer(f, None, "symbolic"), {"A": ones, "B": ones})["C"]
    array(3., dtype=float32)
    """
    names: Names = {s.name: from_storage((scalars or {})[s.name], s.dtype) for s in program.scalars}
    names |= _sizes(program, arrays)
    with np.errstate(all="ignore"):
        machine = _Machine(program, names, text)
        for precondition in program.preconditions:
            if not machine.exact(precondition.condition)(names):
                raise machine.error(f"{precondition.message}{listed(names)}", precondition.span)
        for tensor in program.tensors:
            machine.arrays[tensor.name] = machine.storage(tensor, arrays, out or {})
        for statement in program.statements:
            machine.run(statement)
    return {t.name: machine.arrays[t.name] for t in program.tensors if t.role in (Role.OUTPUT, Role.ACCUMULATED)}


def _sizes(program: LoopProgram, arrays: Mapping[str, Array]) -> Names:
    """Symbolic sizes, read off the inputs' shapes."""
    sizes: Names = {}
    for tensor in program.tensors:
        if tensor.role is not Role.INPUT:
            continue
        for dim, extent in zip(tensor.shape, np.shape(arrays[tensor.name]), strict=True):
            if isinstance(dim, Name):
                assert sizes.setdefault(dim.id, extent) == extent, f"size {dim.id} is one"
    return sizes


class _Machine:
    """The arrays, the names, and expressions as Python functions of the names."""

    def __init__(self, program: LoopProgram, names: Names, text: str | None) -> None:
        self.program = program
        self.names = names
        self.text = text
        self.arrays: dict[str, Array] = {}
        self.exact_lets: set[str] = set()  # of the statement that runs: integers and conditions that read no tensor
        self.reading: set[str] = set()  # its lets that read one

    def error(self, message: str, span: Span | None) -> ComprehensionError:
        return ComprehensionError([Diagnostic.at(f"{self.program.name}: {message}", span, self.text)])

    def storage(self, tensor: TensorInfo, arrays: Mapping[str, Array], out: Mapping[str, Array]) -> Array:
        """The array of a tensor: the caller's, or a new one of zeros."""
        shape = tuple(max(0, int(self.exact(dim)(self.names))) for dim in tensor.shape)
        given = arrays[tensor.name] if tensor.role is Role.INPUT else out.get(tensor.name)
        if given is None:
            if tensor.role is Role.ACCUMULATED and accumulates(self.program, tensor.name):
                raise ComprehensionError(
                    f"{self.program.name}: '{tensor.name}' accumulates into the caller's buffer; pass it by out=",
                    about=tensor.name,
                )
            return self.fresh(tensor, shape)
        assert given.shape == shape and given.dtype == tensor.dtype.numpy, f"{tensor.name} fits"
        return given

    def fresh(self, tensor: TensorInfo, shape: tuple[int, ...]) -> Array:
        """Zeros, or a ComprehensionError where a scalar parameter asks for what cannot be."""
        name = f"{self.program.name}: {tensor.name}"
        check_shape(name, shape, tensor.dtype, tensor.name)
        try:
            return np.zeros(shape, tensor.dtype.numpy)
        except MemoryError:
            raise ComprehensionError(f"{name}: no memory for an array of shape {shape}", about=tensor.name) from None

    def run(self, statement: LoopStatement) -> None:
        self.exact_lets, self.reading = set(), set()
        store = self.store(statement)
        body = self.nest(statement, statement.left, len(statement.indices), store)
        if statement.initialise:
            body = self.initialised(statement, body)
        self.nest(statement, 0, statement.left, body)(self.names)

    def nest(
        self, statement: LoopStatement, first: int, last: int, body: Callable[[Names], None]
    ) -> Callable[[Names], None]:
        """The loops of indices `first` to `last`, around `body`."""
        for index in reversed(statement.indices[first:last]):
            body = self.loop(index.name, self.exact(index.lower), self.exact(index.upper), body)
        return body

    @staticmethod
    def loop(name: str, lower: Evaluate, upper: Evaluate, body: Callable[[Names], None]) -> Callable[[Names], None]:
        def run_loop(names: Names) -> None:
            for value in range(lower(names), upper(names)):
                names[name] = value
                body(names)

        return run_loop

    def initialised(self, statement: LoopStatement, body: Callable[[Names], None]) -> Callable[[Names], None]:
        """Stores the reduction's identity, then runs its loops."""
        assert statement.reduction is not None, "only reductions initialise"
        target = self.arrays[statement.target]
        start = identity(statement.reduction, self.program.tensor(statement.target).dtype)
        place = self.place(statement.target, statement.subscripts, statement.span)

        def initialise_and_reduce(names: Names) -> None:
            target[place(names)] = start
            body(names)

        return initialise_and_reduce

    def store(self, statement: LoopStatement) -> Callable[[Names], None]:
        """One instance of a statement."""
        target, dtype = self.arrays[statement.target], self.program.tensor(statement.target).dtype
        lets = [part for let in statement.lets for part in self.let(let)]
        place = self.place(statement.target, statement.subscripts, statement.span)
        value = self.compile(statement.value)
        combine = arithmetic(statement.reduction, dtype) if statement.reduction is not None else None

        def execute(names: Names) -> None:
            for name, compute in lets:
                names[name] = compute(names)
            where = place(names)
            new = value(names)
            target[where] = new if combine is None else combine(from_storage(target[where], dtype), new)

        return execute

    def let(self, let: Let) -> Iterator[tuple[str, Evaluate]]:
        """Under its name as a value, and beside it as what it is in subscripts."""
        if self.reads_memory(let.value):
            self.reading.add(let.name)
        elif let.value.dtype is not None and not let.value.dtype.is_float:
            yield let.name + EXACTLY, self.exact(let.value)
            self.exact_lets.add(let.name)
        yield let.name, self.compile(let.value)

    def place(self, tensor: str, subscripts: tuple[Expr, ...], span: Span | None) -> Callable[[Names], tuple[int, ...]]:
        """The checked subscripts of an access."""
        shape = self.arrays[tensor].shape
        parts = [self.exact(s) for s in subscripts]

        def checked(names: Names) -> tuple[int, ...]:
            where = tuple(part(names) for part in parts)
            for axis, (subscript, extent) in enumerate(zip(where, shape, strict=True)):
                if not 0 <= subscript < extent:
                    message = f"out of bounds: subscript {axis} of '{tensor}' is {subscript}, but the size is {extent}"
                    raise self.error(message, span)
            return where

        return checked

    # --- expressions -------------------------------------------------------------------------------------------------

    def reads_memory(self, node: Expr) -> bool:
        """Whether an expression, or a let in it, reads a tensor."""
        parts = walk(node)
        return any(isinstance(p, Access) or (isinstance(p, Name) and p.id in self.reading) for p in parts)

    def exact(self, node: Expr) -> Evaluate:
        """A bound, a size, a subscript or a condition in one: of indices, sizes and scalars they do not wrap.

        What reads a tensor is a value like any other, in its own type.
        """
        if self.reads_memory(node):
            return self.compile(node)
        match node:
            case Name(id=name) if name in self.exact_lets:
                return lambda names: names[name + EXACTLY]
            case Unary(op=op, operand=operand):
                inner = self.exact(operand)
                return (lambda names: not inner(names)) if op == "!" else (lambda names: -inner(names))
            case Cast(to=to, operand=operand) if to.is_integer and to.bits >= 32 and _dtype(operand).is_integer:
                return self.exact(operand)
            case Select(condition=condition, then=then, otherwise=otherwise):
                choose, yes, no = self.exact(condition), self.exact(then), self.exact(otherwise)
                return lambda names: yes(names) if choose(names) else no(names)
            case Binary(op="&&" | "||" as op, left=left, right=right):
                first, second = self.exact(left), self.exact(right)
                both = op == "&&"
                return lambda names: (first(names) and second(names)) if both else (first(names) or second(names))
            case Binary(op=op, left=left, right=right) | Call(function="min" | "max" as op, arguments=(left, right)):
                if _dtype(left).is_integer and op in EXACT:
                    compute, a, b = EXACT[op], self.exact(left), self.exact(right)
                    return lambda names: compute(a(names), b(names))
        return self.compile(node)

    def compile(self, node: Expr) -> Evaluate:
        """A Python function of the names for a typed expression."""
        dtype = node.dtype
        assert dtype is not None, "the tree is typed"
        match node:
            case Number(value=number):
                constant = from_storage(number, dtype)
                return lambda names: constant
            case Name(id=name):
                return lambda names: names[name]
            case Access(tensor=tensor, subscripts=subscripts):
                array, place = self.arrays[tensor], self.place(tensor, subscripts, node.span)
                return lambda names: from_storage(array[place(names)], dtype)
            case Unary(op=op, operand=operand):
                inner = self.compile(operand)
                return (lambda names: not inner(names)) if op == "!" else (lambda names: negate(inner(names), dtype))
            case Binary(op="&&" | "||"):
                return self.compile_logic(node)
            case Binary(op=op, left=left, right=right):
                return self.compile_pair(op, left, right)
            case Select(condition=condition, then=then, otherwise=otherwise):
                choose, yes, no = self.compile(condition), self.compile(then), self.compile(otherwise)
                return lambda names: yes(names) if choose(names) else no(names)
            case Cast(to=to, operand=operand):
                inner, source = self.compile(operand), _dtype(operand)
                return lambda names: convert(inner(names), source, to)
            case Call(function="min" | "max" as op, arguments=(left, right)):
                return self.compile_pair(op, left, right)
            case Call(function=function, arguments=arguments):
                builtin, parts = BUILTINS[function], [self.compile(a) for a in arguments]
                return lambda names: evaluate(builtin, tuple(part(names) for part in parts))
            case SizeOf():
                raise AssertionError("sizes are resolved in a loop program")
            case _:
                assert_never(node)

    def compile_logic(self, node: Binary) -> Evaluate:
        """`&&` and `||`; both sides are evaluated, and read what they read: `?:` alone guards."""
        left, right = self.compile(node.left), self.compile(node.right)
        if node.op == "&&":
            return lambda names: left(names) & right(names)
        return lambda names: left(names) | right(names)

    def compile_pair(self, op: str, left: Expr, right: Expr) -> Evaluate:
        compute, a, b = arithmetic(op, _dtype(left)), self.compile(left), self.compile(right)
        return lambda names: compute(a(names), b(names))


def accumulates(program: LoopProgram, output: str) -> bool:
    """Whether the first write of an output combines with what the caller's buffer holds."""
    first = next(s for s in program.statements if s.target == output)
    return first.reduction is not None and not first.initialise


def _dtype(node: Expr) -> ScalarType:
    assert node.dtype is not None, "the tree is typed"
    return node.dtype

"""The rules of an operation whose meaning is a comprehension's text.

In: one checked def.  Out: its infer rule, its eager rule (the compiled kernel) and its comprehension for given
operands, as a record needs them.
Invariant: the def that `definition` returns means what the text means for these operands: it comes from the same
range inference that the compiler uses, every range explicit, under the names of `comprehend`.

Float parameters without dimensions are operands (weak scalars or tensors of rank 0); integer and bool ones may
decide shapes and are attributes, named as in the text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import comprehension as tc
from comprehension.jit.expression import evaluate
from comprehension.kernel.size_text import text_of_tree
from comprehension.lang import tree
from comprehension.lang.checked import CheckedDef
from comprehension.lang.loops import LoopProgram, LoopStatement, Role, TensorInfo
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from minitensor.errors import NoComprehension, ShapeError
from minitensor.ops import comprehend as c
from minitensor.ops.opdef import Operand, TensorSpec

Dim = int | str
_MOST_PROGRAMS = 256
_OUTPUTS = (Role.OUTPUT, Role.ACCUMULATED)


@dataclass(slots=True, eq=False)
class TextRules:
    """The rules of one def; `function` is it as a comprehension."""

    function: tc.Comprehension
    _programs: dict[tuple[Any, ...], _Specialised] = field(default_factory=dict)

    @property
    def checked(self) -> CheckedDef:
        return self.function.definition

    @property
    def operands(self) -> tuple[tree.Param, ...]:
        """The parameters that are operands."""
        return tuple(p for p in self.function.interface.parameters if not is_attribute(p))

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.function.interface.tensors if t.role in _OUTPUTS)

    @property
    def may_raise(self) -> bool:
        """Whether values decide on an error: some subscript is read from a tensor."""
        return any(_is_indirect(statement.node) for statement in self.checked.statements)

    def infer(self, *operands: Operand, **attributes: Any) -> TensorSpec | tuple[TensorSpec, ...]:
        """Shapes and dtypes of the outputs."""
        found = self._specialised(operands, attributes).outputs
        return found[0] if len(found) == 1 else found

    def eager(self, *arrays: Any, **attributes: Any) -> Any:
        """The compiled kernel on arrays and numbers."""
        given = iter(arrays)
        parameters = self.function.interface.parameters
        return self.function(*[attributes[p.name] if is_attribute(p) else next(given) for p in parameters])

    def definition(self, *operands: Operand, **attributes: Any) -> tree.Def:
        """The def for these operands, under the names of `comprehend`."""
        return self._specialised(operands, attributes).definition()

    def _specialised(self, operands: tuple[Operand, ...], attributes: Mapping[str, Any]) -> _Specialised:
        shapes = tuple([(x.shape, x.dtype) if isinstance(x, TensorSpec) else None for x in operands])
        key = (shapes, tuple(sorted(attributes.items())))
        if key not in self._programs:
            if len(self._programs) >= _MOST_PROGRAMS:
                self._programs.clear()
            self._programs[key] = _specialise(self, operands, attributes)
        return self._programs[key]


def is_attribute(param: tree.Param) -> bool:
    """Whether a parameter is an integer or a truth value without dimensions: it may decide shapes."""
    return param.type is not None and not param.type.dims and not param.type.scalar.is_float


def _specialise(rules: TextRules, operands: tuple[Operand, ...], attributes: Mapping[str, Any]) -> _Specialised:
    specs, symbols = _specs(rules.checked, operands)
    program = infer(rules.checked, specs, "symbolic" if symbols else "static")
    for condition in program.preconditions:
        try:
            holds = evaluate(text_of_tree(condition.condition), attributes)
        except KeyError:  # of a symbolic size: the kernel's launch checks it
            continue
        if not holds:
            raise ShapeError(condition.message)
    return _Specialised(rules, program, symbols, dict(attributes))


def _specs(checked: CheckedDef, operands: tuple[Operand, ...]) -> tuple[list[Spec], dict[str, str]]:
    """A spec for each parameter, and the symbol behind each size of the def that has one.

    Raises NoComprehension where a symbol decides whether the operands fit.
    """
    given, specs = iter(operands), []
    sizes: dict[str, Dim] = {}
    for param in checked.parameters:
        assert param.type is not None, "inputs have their types"
        operand = None if is_attribute(param) else next(given)
        if not isinstance(operand, TensorSpec):
            specs.append(Spec((), param.type.scalar))
            continue
        shape = list(operand.shape)
        if len(shape) == len(param.type.dims):
            for axis, dim in enumerate(param.type.dims):
                extent = operand.shape[axis]
                known = dim if isinstance(dim, int) else sizes.setdefault(dim, extent)
                if known != extent and (isinstance(known, str) or isinstance(extent, str)):
                    raise NoComprehension(
                        f"whether {known} is {extent} (dimension {axis} of {param.name}) is not known"
                    )
                if isinstance(extent, str):
                    shape[axis] = dim
        specs.append(Spec(tuple(shape), c.scalar_type(operand.dtype)))
    return specs, {name: extent for name, extent in sizes.items() if isinstance(extent, str)}


@dataclass(frozen=True, slots=True, eq=False)
class _Specialised:
    """A def for operands of given shapes; `symbols` are behind its sizes, `attributes` its integer scalars."""

    rules: TextRules
    program: LoopProgram
    symbols: dict[str, str]
    attributes: dict[str, Any]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(self._shape(t), t.dtype.numpy) for t in self.program.tensors if t.role in _OUTPUTS)

    def _shape(self, tensor: TensorInfo) -> tuple[Dim, ...]:
        return tuple(self._dim(extent, tensor.name) for extent in tensor.shape)

    def _dim(self, extent: tree.Expr, name: str) -> Dim:
        if isinstance(extent, tree.Name) and extent.id in self.symbols:
            return self.symbols[extent.id]
        try:
            return int(evaluate(text_of_tree(extent), self.attributes))
        except KeyError:
            raise NoComprehension(f"an extent of {name} is computed from a symbolic size") from None

    def definition(self) -> tree.Def:
        """The def under the names of `comprehend`; its outputs have their types."""
        tensors, operands = self.program.tensors, self.rules.operands
        names: dict[str, tree.Expr] = {param.name: tree.Name(f"x{k}") for k, param in enumerate(operands)}
        names |= {name: tree.Name(symbol) for name, symbol in self.symbols.items()}
        for letter, roles in (("r", _OUTPUTS), ("t", (Role.TEMPORARY,))):
            names |= {t.name: tree.Name(f"{letter}{k}") for k, t in enumerate(t for t in tensors if t.role in roles)}
        scalars = {scalar.name: scalar.dtype for scalar in self.program.scalars}
        for name, value in self.attributes.items():
            names[name] = _literal(value, scalars[name])
        shapes = {t.name: self._shape(t) for t in tensors if t.role is not Role.TEMPORARY}
        params = [
            tree.Param(f"x{k}", tree.TensorType(scalars.get(p.name) or self._dtype(p.name), shapes.get(p.name, ())))
            for k, p in enumerate(operands)
        ]
        results = [
            tree.Param(f"r{k}", tree.TensorType(self._dtype(name), shapes[name]))
            for k, name in enumerate(self.rules.outputs)
        ]
        statements = tuple(_renamed(statement, names) for statement in self.program.statements)
        return tree.Def(f"mt_{self.program.name}", tuple(params), tuple(results), statements)

    def _dtype(self, name: str) -> ScalarType:
        return self.program.tensor(name).dtype


# --- statements ------------------------------------------------------------------------------------------


def _renamed(statement: LoopStatement, names: Mapping[str, tree.Expr]) -> tree.Statement:
    """A loop statement as the language says it, every range explicit."""
    bound = [*(index.name for index in statement.indices), *(let.name for let in statement.lets)]
    inner = {**names, **dict(zip(bound, c.indices(len(bound)), strict=True))}

    def new_name(name: str) -> str:
        replacement = inner[name]
        assert isinstance(replacement, tree.Name)
        return replacement.id

    where: list[tree.Clause] = [
        tree.Range(new_name(index.name), _replaced(index.lower, inner), _replaced(index.upper, inner))
        for index in statement.indices
    ]
    where += [tree.Let(new_name(let.name), _replaced(let.value, inner)) for let in statement.lets]
    return tree.Statement(
        new_name(statement.target),
        tuple(_replaced(subscript, inner) for subscript in statement.subscripts),
        _replaced(statement.value, inner),
        reduction=statement.reduction,
        initialise=statement.initialise,
        where=tuple(where),
    )


def _replaced(node: tree.Expr, names: Mapping[str, tree.Expr]) -> tree.Expr:
    """An expression with every name replaced; what has no subscripts is a bare name."""
    match node:
        case tree.Name(id=name) | tree.Access(tensor=name, subscripts=()):
            return names.get(name, tree.Name(name))
        case tree.Access(tensor=name):
            target = names[name]
            assert isinstance(target, tree.Name)
            return tree.Access(target.id, tuple(_replaced(part, names) for part in node.subscripts))
        case tree.SizeOf(tensor=name):
            target = names[name]
            assert isinstance(target, tree.Name)
            return dataclasses.replace(node, tensor=target.id)
        case _:
            return tree.rebuild(node, tuple(_replaced(child, names) for child in tree.children(node)))


def _literal(value: Any, dtype: ScalarType) -> tree.Expr:
    """The value of an attribute.  Raises NoComprehension where the language cannot write it."""
    if dtype is ScalarType.BOOL:
        return tree.Binary("==", tree.Number(int(value)), tree.Number(1))
    if not -(2**31) < value < 2**31:
        raise NoComprehension(f"the comprehension language has no literal for {value}")
    return c.number(value) if dtype is ScalarType.INT32 else tree.Cast(dtype, c.number(value))


def _is_indirect(statement: tree.Statement) -> bool:
    """Whether a subscript reads a tensor, itself or by a let."""
    lets = [clause for clause in statement.where if isinstance(clause, tree.Let)]
    reading = {let.name for let in lets if any(isinstance(node, tree.Access) for node in tree.walk(let.value))}
    places = [statement.subscripts]
    for expr in (statement.value, *(let.value for let in lets)):
        places += [node.subscripts for node in tree.walk(expr) if isinstance(node, tree.Access)]
    return any(
        isinstance(node, tree.Access) or (isinstance(node, tree.Name) and node.id in reading)
        for subscripts in places
        for subscript in subscripts
        for node in tree.walk(subscript)
    )

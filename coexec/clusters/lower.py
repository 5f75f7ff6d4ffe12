"""A cluster of operations becomes one comprehension: their defs side by side, then merged where it pays.

    %3 = mul(feed0, 2.0)       =>   def cluster(float(N0,4) x0, float(4) x1) -> (add_1) {
    %4 = add(%3, feed1)               add_1(i0,i1) = x0(i0,i1) * 2.0 + x1(i1) where i0 in 0:N0, i1 in 0:4
                                    }
In: a `Cluster` and its graph.  Out: a `Lowered`: the def and what its parameters, outputs and sizes are in
the graph.
Invariant: names are canonical (inputs x0.., values <op>_<n>, sizes N0.., indices i0.. in order of first use), so
equal clusters lower to equal defs, wherever they stand and whatever their feeds and symbols are called.  Each
operation keeps its meaning: its result is rounded to its dtype before another reads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from coexec.clusters.forward import TensorType, substitute_forward
from coexec.clusters.retarget import retarget
from coexec.clusters.rewrite import names_in_subscripts, names_read, reads, rename, rewrite_statement
from coexec.clusters.rows import Row, take_rows
from coexec.errors import CompilationFailed
from coexec.graph.symbolic import (
    Constant,
    Dim,
    Feed,
    OpNode,
    Output,
    Phi,
    ScalarValue,
    Source,
    SymbolicGraph,
    SymbolicSpec,
)
from comprehension.lang import tree
from comprehension.lang.types import ScalarType, Spec
from minitensor.errors import NoComprehension
from minitensor.ops.opdef import Operand, TensorSpec

Specs = dict[int, OpNode]  # the graph's nodes by id


@dataclass(frozen=True, slots=True)
class Cluster:
    """Operations of one block that become one comprehension, in program order.

    `outputs`: what is needed outside: by other items, fetched or kept.
    """

    nodes: tuple[OpNode, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a parameter of the def is in the graph, and what it looks like to the compiler.

    `index`: where that is a row of the source, which has the shape `whole`, the place in the outer dimensions.
    """

    source: Source
    spec: Spec
    index: tuple[int, ...] = ()
    whole: tuple[Dim, ...] = ()

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that say where the row lies, and whether there is one."""
        return frozenset(dim for dim in self.whole if isinstance(dim, str))


@dataclass(frozen=True, slots=True)
class Lowered:
    """`sizes[k]` is the graph's symbol behind the def's size `N<k>`.

    In a def sizes come from inputs.  Where operations run over a size that none of their operands has (a gradient of a
    mean, broadcast to a batch), a last parameter that nothing reads has it in its shape; its source is a number.
    """

    definition: tree.Def
    parameters: tuple[Parameter, ...]
    outputs: tuple[Output, ...]
    sizes: tuple[str, ...]

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that must be bound before a launch."""
        return frozenset(self.sizes).union(*(parameter.symbols for parameter in self.parameters))


def lower(cluster: Cluster, nodes: Specs) -> Lowered:
    """The comprehension of a cluster; `nodes` are those of the whole graph, by id.

    Raises CompilationFailed where an operation has no comprehension for its operands.
    """
    composition = _Composition(nodes)
    for node in cluster.nodes:
        composition.add(node)
    outputs = frozenset(composition.values[output] for output in cluster.outputs)
    statements = substitute_forward(composition.statements, composition.types, outputs)
    statements = retarget(statements, composition.types, outputs)  # after: movement that could go forward is gone
    statements, rows = take_rows(statements, composition.types, composition.parameters.values())
    return composition.finish(statements, rows, cluster.outputs)


def operand_of(source: Source, nodes: Specs) -> Operand:
    """What an operation's rules see of a source: a spec, or a Python scalar standing for a weak one."""
    match source:
        case Constant(value):
            return value
        case Feed(scalar=True, spec=spec):
            return _EXEMPLARS[spec.dtype.kind]
        case Feed(spec=spec) | Phi(spec=spec):
            return TensorSpec(spec.shape, spec.dtype)
        case Output(node, index):
            spec = nodes[node].outputs[index]
            return TensorSpec(spec.shape, spec.dtype)


# A fed scalar may have any value: rules see one that no special case (0, 1, 2, an integer) fits.
_EXEMPLARS: dict[str, ScalarValue] = {"f": 0.7390851, "i": 12347, "b": True, "c": 0.7390851 + 0.1j}


def definition_of(node: OpNode, nodes: Specs) -> tree.Def:
    """The operation's own def.

    Raises CompilationFailed where it has none for these operands.
    """
    operands = tuple(operand_of(source, nodes) for source in node.inputs)
    if node.op.comprehension is None:
        raise CompilationFailed(f"{node.where}: {node.op.name} has no comprehension: {node.op.opaque_because}")
    try:
        return node.op.comprehension(*operands, **node.attributes)
    except NoComprehension as reason:
        raise CompilationFailed(f"{node.where}: {node.op.name} has no comprehension here: {reason}") from reason


@dataclass(slots=True)
class _Composition:
    """Statements so far, under the cluster's names; sizes still have the graph's names."""

    nodes: Specs
    statements: list[tree.Statement] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    values: dict[Output, str] = field(default_factory=dict)
    parameters: dict[tuple[Source, ScalarType], str] = field(default_factory=dict)

    def add(self, node: OpNode) -> None:
        """Appends the statements of one operation."""
        definition = definition_of(node, self.nodes)
        prefix = f"{node.op.name}_{sum(1 for output in self.values if output.index == 0)}"
        names: dict[str, str | tree.Expr] = {}
        for parameter, source in zip(definition.inputs, node.inputs, strict=True):
            names[parameter.name] = self._read(parameter, source, node)
        for index, (parameter, spec) in enumerate(zip(definition.outputs, node.outputs, strict=True)):
            name = prefix if len(node.outputs) == 1 else f"{prefix}_{index}"
            names[parameter.name] = name
            self.values[Output(node.id, index)] = name
            self.types[name] = TensorType(ScalarType.of(spec.dtype), spec.shape)
        for statement in definition.statements:
            names.setdefault(statement.target, f"{prefix}_{statement.target}")
        sizes = _sizes(parameter.type for parameter in (*definition.inputs, *definition.outputs)) | _names_of(node)
        for statement in definition.statements:
            indices = _canonical_indices(statement, frozenset(names) | sizes)
            target = names[statement.target]
            assert isinstance(target, str)
            renamed = _rename_bound(statement, indices)
            self.statements.append(rewrite_statement(renamed, rename({**names, **indices}), target))

    def _read(self, parameter: tree.Param, source: Source, node: OpNode) -> str | tree.Expr:
        """What stands for an operation's parameter: a value of the cluster, an input of it, or a literal."""
        if isinstance(source, Output) and source in self.values:
            return self.values[source]
        assert parameter.type is not None
        dtype = parameter.type.scalar
        if isinstance(source, Constant):
            literal = _literal(source.value, dtype)
            if literal is not None:
                return literal
        name = self.parameters.setdefault((source, dtype), f"x{len(self.parameters)}")
        operand = operand_of(source, self.nodes)
        self.types[name] = TensorType(dtype, operand.shape if isinstance(operand, TensorSpec) else ())
        return name

    def finish(self, statements: Sequence[tree.Statement], rows: Sequence[Row], outputs: tuple[Output, ...]) -> Lowered:
        """The def of the merged statements: parameters that are still read, sizes renamed."""
        self.types.update({row.name: row.type for row in rows})
        read = frozenset[str]().union(*(names_read(statement) for statement in statements))
        kept = self._kept(read, rows)
        names: dict[str, str | tree.Expr] = {name: f"x{position}" for position, name in enumerate(kept)}
        given = _symbols(self.types[name] for name in kept)
        symbols = dict.fromkeys([*given, *_symbols(self.types[self.values[output]] for output in outputs)])
        symbols.update(dict.fromkeys(symbol for symbol in _symbols(self.types.values()) if symbol in read))
        canonical = {symbol: f"N{position}" for position, symbol in enumerate(symbols)}
        names.update(canonical)
        pointing = self._pointing(statements)
        names.update({name: tree.Access(str(names[name]), (tree.Number(0),)) for name in pointing})
        parameters = [
            replace(
                known, spec=Spec((1,) if name in pointing else _renamed(known.spec.shape, canonical), known.spec.dtype)
            )
            for name, known in kept.items()
        ]
        if told := tuple(canonical[symbol] for symbol in symbols if symbol not in given):
            parameters.append(Parameter(Constant(0.0), Spec(told, ScalarType.FLOAT32)))  # see `Lowered`
        definition = tree.Def(
            "cluster",
            tuple(
                tree.Param(f"x{position}", tree.TensorType(parameter.spec.dtype, parameter.spec.shape))
                for position, parameter in enumerate(parameters)
            ),
            tuple(tree.Param(name, self._type(name, canonical)) for name in map(self.values.__getitem__, outputs)),
            tuple(rewrite_statement(statement, rename(names)) for statement in statements),
        )
        return Lowered(definition, tuple(parameters), outputs, tuple(symbols))

    def _kept(self, read: frozenset[str], rows: Sequence[Row]) -> dict[str, Parameter]:
        """The inputs and rows that are read, by name; shapes have the graph's symbols."""
        kept: dict[str, Parameter] = {}
        for (source, dtype), name in self.parameters.items():
            shape = self.types[name].shape
            if name in read:
                kept[name] = Parameter(source, Spec(shape, dtype))
            for row in rows:
                if row.tensor == name:
                    kept[row.name] = Parameter(source, Spec(row.type.shape, dtype), row.index, shape)
        return kept

    def _pointing(self, statements: Sequence[tree.Statement]) -> frozenset[str]:
        """The inputs without dimensions that Python does not know and that stand in subscripts.

        They are declared with one dimension of size 1: what a tensor holds is checked by the kernel, when it is there;
        a scalar parameter would have to be checked before the launch, when the graph has not computed it yet.
        """
        within = names_in_subscripts(statements)
        return frozenset(
            name
            for (source, _), name in self.parameters.items()
            if name in within and not self.types[name].shape and isinstance(operand_of(source, self.nodes), TensorSpec)
        )

    def _type(self, name: str, canonical: dict[str, str]) -> tree.TensorType:
        known = self.types[name]
        return tree.TensorType(known.dtype, _renamed(known.shape, canonical))


def _symbols(types: Iterable[TensorType]) -> dict[str, None]:
    """The symbols in shapes, in the order of their first use."""
    return dict.fromkeys(dim for type_ in types for dim in type_.shape if isinstance(dim, str))


def _renamed(shape: tuple[int | str, ...], canonical: dict[str, str]) -> tuple[int | str, ...]:
    return tuple(canonical[dim] if isinstance(dim, str) else dim for dim in shape)


def _sizes(types: Iterator[tree.TensorType | None]) -> frozenset[str]:
    return frozenset(dim for type_ in types if type_ is not None for dim in type_.dims if isinstance(dim, str))


def _names_of(node: OpNode) -> frozenset[str]:
    """The symbols in the shapes of the operation's outputs."""
    return frozenset(dim for spec in node.outputs for dim in spec.shape if isinstance(dim, str))


def _canonical_indices(statement: tree.Statement, taken: frozenset[str]) -> dict[str, str]:
    """i0, i1, ... for the statement's indices and lets, in order of first use."""
    bare = (node.id for node in reads(statement) if isinstance(node, tree.Name) and node.id not in taken)
    return {name: f"i{position}" for position, name in enumerate(dict.fromkeys(bare))}


def _rename_bound(statement: tree.Statement, names: dict[str, str]) -> tree.Statement:
    """The names that clauses bind, renamed (`rewrite_statement` renames their uses)."""

    def renamed(clause: tree.Clause) -> tree.Clause:
        match clause:
            case tree.Range(index=index):
                return replace(clause, index=names.get(index, index))
            case tree.Let(name=name):
                return replace(clause, name=names.get(name, name))
            case tree.Exists():
                return clause

    return replace(statement, where=tuple(map(renamed, statement.where)))


def _literal(value: ScalarValue, dtype: ScalarType) -> tree.Expr | None:
    """A weak constant as a literal of a type, exactly; None where the language cannot write it.

    Literals are int32 and float32: a double with more digits, NaN, infinities become scalar parameters.
    """
    if isinstance(value, complex):
        return None
    converted = dtype.numpy.type(value)
    if dtype.is_float:
        number = float(converted)
        if not math.isfinite(number) or float(np.float32(number)) != number:
            return None
        return _as_type(_signed(number), dtype, ScalarType.FLOAT32)
    if not -(2**31) < int(converted) < 2**31:
        return None
    return _as_type(_signed(int(converted)), dtype, ScalarType.INT32)


def _signed(number: int | float) -> tree.Expr:
    negative = math.copysign(1.0, number) < 0
    return tree.Unary("-", tree.Number(-number)) if negative else tree.Number(number)


def _as_type(literal: tree.Expr, dtype: ScalarType, own: ScalarType) -> tree.Expr:
    return literal if dtype is own else tree.Cast(dtype, literal)


def nodes_by_id(graph: SymbolicGraph) -> Specs:
    """The graph's operations by id."""
    return {node.id: node for node in graph.nodes()}


def spec_of(source: Output | Feed | Phi, nodes: Specs) -> SymbolicSpec:
    """Shape and dtype of what a source holds."""
    return nodes[source.node].outputs[source.index] if isinstance(source, Output) else source.spec

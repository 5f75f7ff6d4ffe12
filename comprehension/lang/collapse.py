"""Loops that always walk a tensor's neighbouring axes together become one loop over one axis.

    O(n,c,h,w) = I(n,c,h,w) * s(c)    with 48 × 48 pixels        O(n,c,h_w) = I(n,c,h_w) * s(c)    with 2304

In: a LoopProgram.  Out: a program over the same memory with fewer, longer loops: vectors cross what were the ends
of rows, a reduction over pixels is one loop.
Invariant: an instance (.., i, j, ..) becomes (.., i * J + j, ..), an element (.., a, b, ..) of a dense tensor
(.., a * J + b, ..): a bijection that keeps the order of instances, and the place in memory of each element.  So
two axes are joined only where every access to the tensor has two neighbouring indices there, as they are, the
second over the whole axis (and the first, where sizes are names); and these indices stand nowhere else, but for
values that say that very number, i * J + j (the number of an element, of which a random draw is a function), which is
the joined index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from comprehension.lang.loops import Index, LoopProgram, LoopStatement, TensorInfo
from comprehension.lang.tree import Access, Binary, Expr, Name, Number, children, names_in, rebuild, walk
from comprehension.lang.types import ScalarType

INT32 = ScalarType.INT32
Axes = tuple[str, int]  # a tensor and the first of two neighbouring axes
Pair = tuple[str, str]  # two indices of a statement


def collapse(program: LoopProgram) -> LoopProgram:
    """The program with all loops joined that can be; itself where there are none."""
    axes = _axes_to_join(program)
    if not axes:
        return program
    statements = tuple(
        _joined_statement(statement, _pairs(program, statement, axes)) for statement in program.statements
    )
    return replace(program, tensors=tuple(_joined_tensor(t, axes) for t in program.tensors), statements=statements)


def axis_as_written(program: LoopProgram, tensor: str, axis: int) -> int:
    """Which axis of a tensor of `program` has become, or begins, that axis of `collapse(program)`."""
    axes = _axes_to_join(program)
    return [a for a in range(len(program.tensor(tensor).shape)) if (tensor, a - 1) not in axes][axis]


def _axes_to_join(program: LoopProgram) -> set[Axes]:
    """The largest set of axes that can all be joined with their next ones."""
    axes = {(t.name, a) for t in program.tensors if t.layout is None for a in range(len(t.shape) - 1)}
    while True:
        kept = axes
        for statement in program.statements:
            pairs = _pairs(program, statement, kept)
            kept = kept - {
                (access.tensor, a)
                for access in accesses_of(statement)
                for a in range(len(access.subscripts) - 1)
                if _named(access.subscripts, a) not in pairs
            }
        if kept == axes:
            return axes
        axes = kept


def _pairs(program: LoopProgram, statement: LoopStatement, axes: set[Axes]) -> set[Pair]:
    """Neighbouring loops of a statement that occur as the two subscripts of joined axes only."""
    found: set[Pair] = set()
    names = [index.name for index in statement.indices]
    for first, second in zip(statement.indices, statement.indices[1:], strict=False):
        pair = (first.name, second.name)
        plain = names.index(second.name) != statement.left and _is_constant(first, names)
        joins = plain and _stand_together(statement, pair, axes) and _covers(program, statement, first, second)
        if joins and not _relies_on_both(program, statement, (first, second)):
            found.add(pair)
    return found


def _stand_together(statement: LoopStatement, pair: Pair, axes: set[Axes]) -> bool:
    """Whether every occurrence of the two indices is as the subscripts of axes that may be joined."""
    occurrences = sum(
        isinstance(node, Name) and node.id in pair for expr in _expressions(statement) for node in walk(expr)
    )
    together = 0
    for access in accesses_of(statement):
        together += sum(
            2 * (_named(access.subscripts, a) == pair and (access.tensor, a) in axes)
            for a in range(len(access.subscripts) - 1)
        )
    extent = next(index.upper for index in statement.indices if index.name == pair[1])
    numbered = sum(2 for expr in _expressions(statement) for node in walk(expr) if _numbers(node, pair) == extent)
    return together > 0 and occurrences == together + numbered


def _numbers(node: Expr, pair: Pair) -> Expr | None:
    """The extent J where a node is `i * J + j` for these two indices, or `(... + i) * J + j`."""
    match node:
        case Binary(
            op="+", left=Binary(op="*", left=outer, right=extent), right=Name(id=second), dtype=ScalarType.INT32
        ):
            return extent if (_last(outer), second) == pair else None
    return None


def _last(node: Expr) -> str | None:
    """The index that moves fastest in the number of an element."""
    match node:
        case Name(id=name) | Binary(op="+", left=Binary(op="*"), right=Name(id=name)):
            return name
    return None


def _widened(node: Expr, factor: Expr) -> Expr:
    """The number whose last index has become a run of `factor` times as many."""
    match node:
        case Binary(op="+", left=Binary(op="*", left=outer, right=extent) as product):
            return replace(node, left=replace(product, left=outer, right=_product([extent, factor])))
    return node


def _covers(program: LoopProgram, statement: LoopStatement, first: Index, second: Index) -> bool:
    """Whether the second index runs over the whole of the second axis, wherever it stands.

    The first one over the whole of its axis, too, unless all of its numbers are known: of products of other sizes it
    could not be proved that the smaller one is.
    """
    if second.lower != Number(0, dtype=INT32) or not isinstance(first.lower, Number):
        return False
    for access in accesses_of(statement):
        shape = program.tensor(access.tensor).shape
        for a in range(len(access.subscripts) - 1):
            if _named(access.subscripts, a) == (first.name, second.name):
                known = isinstance(first.upper, Number) and isinstance(shape[a], Number)
                if shape[a + 1] != second.upper or not (known or shape[a] == first.upper):
                    return False
    return True


def _relies_on_both(program: LoopProgram, statement: LoopStatement, pair: tuple[Index, Index]) -> bool:
    """Whether a subscript may be in bounds only because both loops run, as in `O(i, j) = I(i, j) - A(0, N - 1)`.

    Of sizes with names it could not be proved that each is positive where their product is.
    """
    sizes = names_in(*[index.upper for index in pair])
    if not sizes:
        return False
    plain = {index.name for index in statement.indices}
    lets = {let.name: let.value for let in statement.lets}
    for access in accesses_of(statement):
        for subscript, extent in zip(access.subscripts, program.tensor(access.tensor).shape, strict=True):
            if not (isinstance(subscript, Name) and subscript.id in plain):
                used = names_in(subscript, extent)
                parts = lets.values() if not used.isdisjoint(lets) else ()
                if not sizes.isdisjoint(used | names_in(*parts)):
                    return True
    return False


def _is_constant(index: Index, names: list[str]) -> bool:
    return names_in(index.lower, index.upper).isdisjoint(names)


def _named(subscripts: tuple[Expr, ...], axis: int) -> Pair | None:
    """The indices that stand at an axis and the next one, as they are."""
    left, right = subscripts[axis], subscripts[axis + 1]
    return (left.id, right.id) if isinstance(left, Name) and isinstance(right, Name) else None


def accesses_of(statement: LoopStatement) -> Iterator[Access]:
    """The statement's accesses, its own target among them."""
    yield Access(statement.target, statement.subscripts)
    for expr in _expressions(statement):
        yield from (node for node in walk(expr) if isinstance(node, Access))


def _expressions(statement: LoopStatement) -> list[Expr]:
    """All that a statement says: where it writes first, then what, then the bounds of its loops."""
    lets = [let.value for let in statement.lets]
    bounds = [bound for index in statement.indices for bound in (index.lower, index.upper)]
    return [*statement.subscripts, *lets, statement.value, *bounds]


# --- joining ---------------------------------------------------------------------------------------------------


def _joined_tensor(tensor: TensorInfo, axes: set[Axes]) -> TensorInfo:
    runs: list[list[Expr]] = []
    for axis, extent in enumerate(tensor.shape):
        if (tensor.name, axis - 1) in axes:
            runs[-1].append(extent)
        else:
            runs.append([extent])
    return replace(tensor, shape=tuple(_product(run) for run in runs))


def _joined_statement(statement: LoopStatement, pairs: set[Pair]) -> LoopStatement:
    runs: list[list[Index]] = []
    left = statement.left
    for position, index in enumerate(statement.indices):
        if runs and (runs[-1][-1].name, index.name) in pairs:
            runs[-1].append(index)
            left -= position < statement.left
        else:
            runs.append([index])
    names = {index.name: _name(run) for run in runs for index in run}
    later = {index.name for run in runs for index in run[1:]}

    def joined(subscripts: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """Of a run's subscripts the first stands for all."""
        return tuple(s for s in subscripts if not (isinstance(s, Name) and s.id in later))

    def rewritten(node: Expr) -> Expr:
        if isinstance(node, Name):
            return replace(node, id=names.get(node.id, node.id))
        match node:
            case Binary(op="+", left=Binary(op="*", left=outer, right=extent), right=Name(id=second)) if (
                second in later
            ):
                return rewritten(_widened(outer, extent))
        if isinstance(node, Access):
            node = replace(node, subscripts=joined(node.subscripts))
        return rebuild(node, tuple(rewritten(part) for part in children(node)))

    return replace(
        statement,
        subscripts=tuple(rewritten(s) for s in joined(statement.subscripts)),
        value=rewritten(statement.value),
        indices=tuple(_joined_index(run) for run in runs),
        left=left,
        lets=tuple(replace(let, value=rewritten(let.value)) for let in statement.lets),
    )


def _joined_index(run: list[Index]) -> Index:
    first, *others = run
    if not others:
        return first
    extents = [index.upper for index in others]
    because = f"{', '.join(index.name for index in run)}, which always stand together"
    return Index(_name(run), _product([first.lower, *extents]), _product([first.upper, *extents]), because)


def _name(run: list[Index]) -> str:
    return "_".join(index.name for index in run)


def _product(factors: list[Expr]) -> Expr:
    """The product of sizes: a number where all are."""
    total = factors[0]
    for factor in factors[1:]:
        match total, factor:
            case Number(value=0), _:
                return total
            case Number(value=int(a)), Number(value=int(b)):
                total = Number(a * b, dtype=INT32)
            case _:
                total = Binary("*", total, factor, dtype=INT32)
    return total

"""Which mutants there are, and which of them a run looks at.

In: modules and a seed.  Out: `Mutant`s, one for each place that an operator of cosmic-ray can change.
Invariant: a mutant's name depends on the seed and on what it changes (module, definition, line, operator) only, so that
an edit elsewhere leaves the sample as it was.

A place counts once, however many replacements its operator has: cosmic-ray knows eleven for each `+` and one for each
`not`, and a sample over all of them would look at little but arithmetic.  Some places change nothing that a program
could notice, and are left out: annotations (never evaluated: `from __future__ import annotations`) and what is under
`if TYPE_CHECKING`; guards against misuse that no code relies on (the arguments of `@dataclass`, `strict` of `zip`);
decorators that only remember results (`@cache`); and what is said to people and not to programs: arguments of `raise`
and of `log`.  So are `is` for `==` and its like: whether equal numbers are one object is the interpreter's business.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.work_item import MutationSpec, WorkItem

Position = tuple[int, int]  # line from 1, column from 0
IDENTITY = {"Is", "IsNot"}
CACHES = {"cache", "lru_cache", "functools.cache", "functools.lru_cache"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.  Names are digests: their order is that of the sample."""

    name: str
    spec: MutationSpec

    @property
    def module(self) -> str:
        return str(self.spec.module_path.as_posix())

    @property
    def line(self) -> int:
        return int(self.spec.start_pos[0])

    @property
    def work_item(self) -> WorkItem:
        return WorkItem.single(self.name, self.spec)


def family_of(operator: str) -> str | None:
    """What an operator replaces: the members of a family change the same places.  None: left out."""
    head, *parts = operator.split("_")
    if not parts:
        return head
    before, after = reversed(parts) if parts[0] == "Delete" else parts
    if len({before, after} & IDENTITY) == 1:
        return None
    return f"{head}_{before}"


def families() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for operator in sorted(cosmic_ray.plugins.operator_names()):
        family = family_of(operator)
        # Operators that take arguments are made for one variable by its name.
        if family is not None and not cosmic_ray.plugins.get_operator(operator).arguments():
            found.setdefault(family, []).append(operator)
    return found


def mutants(paths: Iterable[Path], seed: str) -> list[Mutant]:
    """All mutants of these modules."""
    known = families()
    return [mutant for path in paths for mutant in _of_module(path, known, seed)]


def _of_module(path: Path, known: dict[str, list[str]], seed: str) -> Iterator[Mutant]:
    source = path.read_text()
    lines = source.splitlines()
    silent = list(_silent(ast.parse(source)))
    nodes = list(ast_nodes(get_ast(source)))
    alike: Counter[str] = Counter()
    for family, operators in known.items():
        finder = cosmic_ray.plugins.get_operator(operators[0])()
        places = ((node, *span) for node in nodes for span in finder.mutation_positions(node))
        seen: set[Position] = set()  # a number has two changes at one place
        for occurrence, (node, start, end) in enumerate(places):
            if start in seen or any(first <= start < last for first, last in silent):
                continue
            seen.add(start)
            definition = ASTQuery(node).get_definition_name()
            what = "|".join((path.as_posix(), definition or "", lines[start[0] - 1].strip(), family))
            alike[what] += 1
            digest = hashlib.sha256(f"{seed}|{what}|{alike[what]}".encode()).hexdigest()
            operator = operators[int(digest[-8:], 16) % len(operators)]
            spec = MutationSpec(path, operator, occurrence, start, end, definition_name=definition)
            yield Mutant(digest[:12], spec)


def _silent(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    """Where a change changes no meaning: see the module."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=ast.expr() as found) | ast.AnnAssign(annotation=found):
                yield _span(found)
            case ast.FunctionDef(returns=ast.expr() as found):
                yield _span(found)
            case ast.If(test=ast.Name("TYPE_CHECKING") as found):
                yield _span(found)
            case ast.Call(func=ast.Name("zip"), keywords=[ast.keyword(arg="strict", value=found)]):
                yield _span(found)
            case ast.ClassDef(decorator_list=decorators):
                yield from (_span(call) for call in decorators if isinstance(call, ast.Call))
            case ast.Raise(exc=ast.Call(args=said)) | ast.Call(func=ast.Attribute(ast.Name("log")), args=said):
                yield from map(_span, said)
        if isinstance(node, ast.FunctionDef):
            yield from (_span(found, 1) for found in node.decorator_list if ast.unparse(found).split("(")[0] in CACHES)


def _span(node: ast.expr, before: int = 0) -> tuple[Position, Position]:
    """Where a node stands, with so many characters before it (the @ of a decorator)."""
    assert node.end_lineno is not None and node.end_col_offset is not None
    return (node.lineno, node.col_offset - before), (node.end_lineno, node.end_col_offset)


def stratified(every: Iterable[Mutant], count: int) -> list[Mutant]:
    """A sample that has of each module its share, and one at least; the modules' shares come first."""
    order = _spread(every)
    taken = order[:count]
    seen = {mutant.module for mutant in taken}
    for mutant in order[count:]:
        if mutant.module not in seen:
            seen.add(mutant.module)
            taken.append(mutant)
    return taken


def _spread(every: Iterable[Mutant]) -> list[Mutant]:
    """An order whose first n are a sample that has of each module its share, for any n.

    In a module by name; the k-th of a module's m at (k + u) / m, u drawn by the module's name.
    """
    of_module: dict[str, list[Mutant]] = {}
    for mutant in sorted(every, key=lambda mutant: mutant.name):
        of_module.setdefault(mutant.module, []).append(mutant)
    placed = []
    for module, found in of_module.items():
        start = int(hashlib.sha256(f"{module}|{len(found)}".encode()).hexdigest()[:8], 16) / 2**32
        placed += [((k + start) / len(found), mutant.name, mutant) for k, mutant in enumerate(found)]
    return [mutant for _, _, mutant in sorted(placed, key=lambda place: place[:2])]

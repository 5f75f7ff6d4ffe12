"""Integer expressions of a manifest, evaluated by the program at a launch.

In: Python text as `kernel.size_text` writes it, environments of sizes and scalars.  Out: numbers.
Invariant: nothing of Python is reachable from a text but `+ - * // % min max`, comparisons, `and or not`,
`a if c else b` and `int(x)`; division by zero gives 0, as in the language.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Mapping, Sequence

from comprehension.kernel.size_text import unescaped

Number = int | float
Environment = Mapping[str, Number]
Evaluate = Callable[[Environment], Number]

LONGEST = 100_000


def evaluate(value: Number | str, environment: Environment) -> Number:
    """The value of a manifest's number or text.

    Raises ValueError for a text that is not such an expression, KeyError for a name without a value.

    >>> evaluate("(N + 31) // 32 if N > 0 else 0", {"N": 40})
    2
    """
    return compiled(value)(environment) if isinstance(value, str) else value


def names_in(value: Number | str) -> frozenset[str]:
    """The sizes and scalars that a manifest's number or text reads.

    >>> sorted(names_in("max(N * s, 0)")), sorted(names_in(3))
    (['N', 's'], [])
    """
    if not isinstance(value, str):
        return frozenset()
    nodes = list(ast.walk(ast.parse(value, mode="eval")))
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return frozenset(unescaped(node.id) for node in nodes if isinstance(node, ast.Name) and id(node) not in called)


@functools.lru_cache(maxsize=4096)
def compiled(text: str) -> Evaluate:
    """The text as a function of its environment; ValueError for anything that is not in the grammar above."""
    if len(text) > LONGEST:
        raise ValueError(f"an expression of {len(text)} characters is longer than {LONGEST}")
    try:
        return _compile(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError) as reason:
        raise ValueError(f"not an integer expression: {text[:80]!r}") from reason


def compiled_together(
    values: Sequence[tuple[Number | str, Mapping[str, str]]], names: Sequence[str]
) -> Callable[..., list[Number]]:
    """Many expressions as one function of the numbers that `names` stand for, in order: a tenth of the price of each.

    Each comes with the name among `names` of each of its own.  Raises as `compiled`; KeyError for a name without one.

    >>> compiled_together([("N * 2", {"N": "n"}), ("N // M", {"N": "m", "M": "n"}), (7, {})], ["n", "m"])(4, 9)
    [8, 2, 7]
    """
    arguments = {name: f"s{i}" for i, name in enumerate(names)}
    texts = []
    for value, known in values:
        if isinstance(value, str):
            compiled(value)  # nothing but the grammar above goes any further
            tree = _Renamed({own: arguments[name] for own, name in known.items()}).visit(ast.parse(value, mode="eval"))
            value = f"({ast.unparse(tree)})"
        texts.append(str(value))
    source = f"lambda {', '.join(arguments.values())}: [{', '.join(texts)}]"
    inside = {"__builtins__": {}, "min": min, "max": max, "int": int, "floor": _floor, "modulo": _modulo, "bool": bool}
    function: Callable[..., list[Number]] = eval(compile(source, "<sizes>", "eval"), inside)
    return function


class _Renamed(ast.NodeTransformer):
    """An expression of the grammar as Python that means the same: division by zero gives 0, `and` and `or` truth."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(self._names[unescaped(node.id)])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        return ast.Call(node.func, [self.visit(argument) for argument in node.args], [])

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.right)
        if not isinstance(node.op, ast.FloorDiv | ast.Mod) or (isinstance(right, ast.Constant) and right.value != 0):
            return ast.BinOp(left, node.op, right)
        return ast.Call(ast.Name("floor" if isinstance(node.op, ast.FloorDiv) else "modulo"), [left, right], [])

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        return ast.Call(ast.Name("bool"), [ast.BoolOp(node.op, [self.visit(value) for value in node.values])], [])


def _floor(a: Number, b: Number) -> Number:
    return a // b if b else 0


def _modulo(a: Number, b: Number) -> Number:
    return a % b if b else 0


_ARITHMETIC: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: _floor,
    ast.Mod: _modulo,
}
_COMPARISON: dict[type[ast.cmpop], Callable[[Number, Number], bool]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}


def _compile(node: ast.expr) -> Evaluate:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return lambda env: value
        case ast.Name(id=name):
            key = unescaped(name)
            return lambda env: env[key]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compile(operand)
            return lambda env: -inner(env)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _compile(operand)
            return lambda env: not inner(env)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _apply(_ARITHMETIC[type(op)], left, right)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISON:
            return _apply(_COMPARISON[type(op)], left, right)
        case ast.BoolOp(op=ast.And(), values=values):
            parts = [_compile(value) for value in values]
            return lambda env: all(part(env) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=values):
            parts = [_compile(value) for value in values]
            return lambda env: any(part(env) for part in parts)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            condition, then, otherwise = _compile(test), _compile(body), _compile(orelse)
            return lambda env: then(env) if condition(env) else otherwise(env)
        case ast.Call(func=ast.Name(id="int"), args=[operand], keywords=[]):
            inner = _compile(operand)
            return lambda env: int(inner(env))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=arguments, keywords=[]) if len(arguments) > 1:
            extreme: Callable[[list[Number]], Number] = min if name == "min" else max
            parts = [_compile(argument) for argument in arguments]
            return lambda env: extreme([part(env) for part in parts])
    raise ValueError(f"not allowed in an integer expression: {ast.unparse(node)[:80]!r}")


def _apply(function: Callable[[Number, Number], Number], left: ast.expr, right: ast.expr) -> Evaluate:
    first, second = _compile(left), _compile(right)
    return lambda env: function(first(env), second(env))

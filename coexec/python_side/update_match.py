"""Update matchers: one function for each form of an optimiser, which says whether its parameters and states have it.

In: the patterns of a `macros.UpdateForm`.  Out: an `UpdateMatcher`.
Invariant: `match_updates` is the reference, and what `make_update_matcher` writes is the same loop with each turn by
itself, as in `tape_match`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coexec.python_side.tape_match import KINDS
from minitensor.tensor import Tensor

# Of a parameter with a gradient the names in its state that are tensors, and those that are numbers; None: without one.
Pattern = tuple[tuple[str, ...], tuple[str, ...]] | None
# (parameters, states) -> the operands that are tensors, the state of the first parameter that takes part; None where
# they have another form.
UpdateMatcher = Callable[[Sequence[Any], Sequence[dict[str, Any]]], tuple[list[Any], dict[str, Any]] | None]


def match_updates(
    patterns: Sequence[Pattern], params: Sequence[Any], states: Sequence[dict[str, Any]]
) -> tuple[list[Any], dict[str, Any]] | None:
    """See `UpdateMatcher`."""
    first: dict[str, Any] | None = None
    arguments: list[Any] = []
    for param, state, pattern in zip(params, states, patterns, strict=True):
        grad = param.grad
        if pattern is None or grad is None:
            if (pattern is None) != (grad is None):
                return None
            continue
        tensors, plain = pattern
        if len(state) != len(tensors) + len(plain) or type(param) not in KINDS or type(grad) not in KINDS:
            return None
        arguments += (param.value, grad.value)
        for name in tensors:
            x = state.get(name)
            if type(x) is not Tensor:
                return None
            arguments.append(x.value)
        first = state if first is None else first
        if any(type(state.get(name)) is not int or state[name] != first[name] for name in plain):
            return None
    return None if first is None else (arguments, first)


def make_update_matcher(patterns: Sequence[Pattern]) -> UpdateMatcher:
    """`match_updates` for these patterns, of which one at least is of a parameter with a gradient."""
    count = range(len(patterns))
    lines = ["def match(params, states):", f"    {' '.join(f'p{i},' for i in count)} = params"]
    lines.append(f"    {' '.join(f's{i},' for i in count)} = states")
    arguments: list[str] = []
    first = next(i for i, pattern in enumerate(patterns) if pattern is not None)
    for i, pattern in enumerate(patterns):
        if pattern is None:
            lines.append(f"    if p{i}.grad is not None: return None")
            continue
        tensors, plain = pattern
        lines.append(f"    g{i} = p{i}.grad")
        lines.append(
            f"    if len(s{i}) != {len(tensors) + len(plain)} or type(p{i}) not in KINDS or type(g{i}) not in KINDS: "
            "return None"
        )
        arguments += [f"p{i}.value", f"g{i}.value"]
        for k, name in enumerate(tensors):
            lines += [f"    x{i}_{k} = s{i}.get({name!r})", f"    if type(x{i}_{k}) is not Tensor: return None"]
            arguments.append(f"x{i}_{k}.value")
        for k, name in enumerate(plain):
            lines.append(f"    n{i}_{k} = s{i}.get({name!r})")
            other = "" if i == first else f" or n{i}_{k} != s{first}[{name!r}]"
            lines.append(f"    if type(n{i}_{k}) is not int{other}: return None")
    lines.append(f"    return [{', '.join(arguments)}], s{first}")
    names: dict[str, Any] = {"KINDS": KINDS, "Tensor": Tensor}
    exec(compile("\n".join(lines), "<update matcher>", "exec"), names)
    matcher: UpdateMatcher = names["match"]
    return matcher

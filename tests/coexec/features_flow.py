"""Values that Python reads inside a step, and control flow by them; part of `features`."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from programs import Step, data
from scipy import ndimage

import minitensor as mt

# --- values that Python reads ---------------------------------------------------------------------------


def third_party_calls() -> Step:
    def step(i: int) -> Any:
        y = data(3, 4, offset=i) * 2.0
        labels, count = ndimage.label(y.numpy() > 0)
        parsed = json.loads(json.dumps({"y": y.sum(axis=0).tolist()}))
        centre = ast.literal_eval(repr([float(v) for v in y[0]]))
        return y + mt.asarray(labels.astype(np.float32)), count, parsed, mt.asarray(centre) * 2.0

    return step


def values_as_loop_bounds() -> Step:
    def step(i: int) -> Any:
        x = data(3, offset=i)
        for _ in range(int((x * x).sum()) % 4):
            x = x + 1.0
        return x

    return step


def values_as_indices_and_keys() -> Step:
    table, names = data(5, 2), {k: k * 0.5 for k in range(-9, 10)}
    seen: dict[float, int] = {}

    def step(i: int) -> Any:
        x = data(5, offset=i)
        k = int(mt.argmax(x))
        key = x.sum().item()
        seen[key] = seen.get(key, 0) + 1
        return table[k] * names[int(key)] + 1.0, seen[key], [10, 20, 30, 40, 50][mt.argmax(x)]

    return step


def values_in_texts() -> Step:
    lines: list[str] = []

    def step(i: int) -> Any:
        loss = (data(4, offset=i) * 0.5).sum()
        print(f"step {i}: loss {loss:+.2f}", loss * 2.0)
        lines.append(f"{float(loss):g}")
        print(repr(loss), str(loss + 1.0))
        return loss * 3.0

    return step


def values_in_conditions_of_all_kinds() -> Step:
    def step(i: int) -> Any:
        x = data(3, offset=i)
        y = x.sum()
        chosen = x if y > 0 and bool((x > -3.0).all()) else x * 2.0
        while chosen.sum() < 4.0:
            chosen = chosen + 1.0
        assert chosen.sum() >= 4.0
        return chosen, not y, 1.0 if y else 2.0, max(float(v) for v in chosen)

    return step


def operands_in_an_order_that_values_decide() -> Step:
    """The same operations on the same values, which swap places: a graph must have all wirings at once."""

    def step(i: int) -> Any:
        parts = [data(2, offset=3 * i + k) * float(k + 1) for k in range(4)]
        parts.sort(key=lambda x: float(x.sum()))
        best = max(parts, key=lambda x: float(x[0]))
        return parts[0] - parts[-1], best + 1.0

    return step


def values_read_between_all_operations() -> Step:
    """`.item()` after every operation, used in the next one: one graph all the same."""

    def step(i: int) -> Any:
        x, seen = data(3, offset=i), []
        for k in range(5):
            x = mt.clip(x * 1.5, -9.0, 9.0)
            seen.append(x[k % 3].item())
            x = x + seen[-1] * 0.5
        return seen, x

    return step


def early_stop_on_a_value() -> Step:
    best, patience = [float("inf")], [3]

    def step(i: int) -> Any:
        loss = (data(4, offset=i * i) * 0.5).sum()
        value = float(loss)
        if value < best[0]:
            best[0], patience[0] = value, 3
            return "better", loss * 2.0
        patience[0] -= 1
        if patience[0] <= 0:
            patience[0] = 3
            best[0] = float("inf")
            raise StopIteration(f"no gain since {value}")
        return "worse", loss

    return step


def numbers_that_change_their_type() -> Step:
    """A number that is another one in every step, an int for a while, then a float."""

    def step(i: int) -> Any:
        k = i if i < 10 else i + 0.5
        return mt.asarray(np.arange(3)) * k, data(3, offset=i) * k

    return step


# --- control flow ---------------------------------------------------------------------------------------


def nested_loops_with_break_continue_else() -> Step:
    def step(i: int) -> Any:
        x = data(2, offset=i)
        for row in range(3):
            for column in range(4):
                if (row + column + i) % 5 == 0:
                    continue
                if row * column > 3 + i % 3:
                    break
                x = mt.clip(x + float(column), -9.0, 9.0)
            else:
                x = x * -1.0
            while True:
                x = x - 1.0
                if float(x.sum()) < 3.0:
                    break
        return x

    return step


def recursion_over_trees() -> Step:
    trees = [1, (1, 2), ((1, 2), 3), (1, (2, (3, 4))), ((1, 2), (3, 4))]

    def fold(tree: Any, leaf: mt.Tensor) -> mt.Tensor:
        if isinstance(tree, int):
            return leaf * float(tree)
        left, right = (fold(part, leaf) for part in tree)
        return mt.clip(left - right * 2.0, -9.0, 9.0)

    def step(i: int) -> Any:
        return fold(trees[i % 5], data(3, offset=i))

    return step


def a_generator_that_outlives_the_step() -> Step:
    def numbers() -> Iterator[mt.Tensor]:
        x = data(2)
        while True:
            x = mt.clip(x + x, -8.0, 8.0) - 1.0
            yield x

    running: list[Iterator[mt.Tensor]] = []

    def step(i: int) -> Any:
        if i % 6 == 0:
            running[:] = [numbers()]
        return next(running[0]) * 2.0

    return step


def a_generator_that_receives_and_is_closed() -> Step:
    log: list[str] = []

    def averager() -> Any:
        total = data(2) * 0.0
        try:
            while True:
                total = total + (yield total * 0.5)
        except ValueError:
            yield total * -1.0
        finally:
            log.append("closed")

    def step(i: int) -> Any:
        running = averager()
        next(running)
        seen = [running.send(data(2, offset=i + k)) for k in range(2)]
        last = running.throw(ValueError) if i % 3 == 1 else seen[-1]
        running.close()
        return seen, last + 1.0, len(log)

    return step


def try_except_else_finally() -> Step:
    log: list[str] = []

    def step(i: int) -> Any:
        x = data(3, offset=i)
        try:
            x = x * 2.0
            if i % 4 == 3:
                raise LookupError(float(x.sum()))
        except LookupError as error:
            x = x + error.args[0]
        else:
            x = x - 1.0
        finally:
            x = x * 0.5
            log.append(f"{float(x[0]):g}")
        with contextlib.suppress(ZeroDivisionError):
            x = x + 1.0
            x = x * (1 / (i % 2))
        return x

    return step


def updates_broken_off_midway() -> Step:
    """Some parameters are written, then an exception comes: those and no others have changed."""
    weights = [data(3, offset=k) for k in range(4)]

    def step(i: int) -> Any:
        updates = [mt.clip(w * -0.5 + data(3, offset=i), -8.0, 8.0) for w in weights]
        for k, update in enumerate(updates):
            if k == i % 6:
                raise ArithmeticError(f"before {k}")
            weights[k][...] = update
        return len(updates)

    return step


def exceptions_whose_frames_are_read_later() -> Step:
    kept: list[BaseException] = []

    def step(i: int) -> Any:
        y = data(2, offset=i) * 2.0
        try:
            z = y + 1.0
            raise RuntimeError(i)
        except RuntimeError as error:
            kept.append(error)
            del z
        frame = kept[max(0, len(kept) - 3)].__traceback__
        assert frame is not None
        older = frame.tb_frame.f_locals["y"]
        if len(kept) > 6:
            kept.clear()
        return y, older * 1.0

    return step


def operations_that_never_succeed() -> Step:
    """Shapes that do not fit, an index out of range, a number out of range: caught in every step."""

    def step(i: int) -> Any:
        x, n, told = data(3, offset=i) * 2.0, mt.asarray(np.arange(3)), []
        wrong = [
            lambda: x + data(4),
            lambda: x @ data(4),
            lambda: x.reshape((2, 2)),
            lambda: x[5],
            lambda: x * "a",  # type: ignore[operator]
            lambda: n * 2**70,
            lambda: mt.concat([x, data(2, 2)]),
        ]
        for attempt in wrong:
            try:
                attempt()
            except Exception as error:
                told.append((type(error).__name__, str(error)))
        return told, x + 1.0

    return step


def context_managers() -> Step:
    depth: list[mt.Tensor] = []

    @contextlib.contextmanager
    def scaled(by: float) -> Iterator[mt.Tensor]:
        depth.append(data(2) * by)
        try:
            yield depth[-1]
        finally:
            depth.pop()

    def step(i: int) -> Any:
        with scaled(2.0) as a, mt.no_grad(), scaled(float(1 + i % 2)) as b:
            x = a + b + data(2, offset=i)
        return x, len(depth)

    return step


def executed_source() -> Step:
    def step(i: int) -> Any:
        names = {"x": data(2, offset=i), "mt": mt}
        exec(f"y = x * {1 + i % 2}.0\nfor k in range(2):\n    y = y + x", names)
        return names["y"], eval("y.sum() + 1.0", names)

    return step


def pattern_matching_and_comprehensions() -> Step:
    def step(i: int) -> Any:
        parts = [data(2, offset=i + k) * float(k) for k in range(3) if (k + i) % 4]
        table = {k: v + 1.0 for k, v in enumerate(parts)}
        match parts:
            case [a, b]:
                x = a - b
            case [a, *_, b]:
                x = a + b
            case _:
                x = data(2)
        return x, table, (largest := x.max()) + 1.0, float(largest)

    return step


def many_rare_branches() -> Step:
    """A new path in every other step for a while, and speed again afterwards."""

    def step(i: int) -> Any:
        x = data(2, offset=i)
        for bit in range(3):
            x = x + 1.0 if (i // 2) >> bit & 1 else x * 2.0
        return x

    return step

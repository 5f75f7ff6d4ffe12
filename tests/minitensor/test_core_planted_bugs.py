"""Planted bugs in the core (tape, values, optimisers, draws, loaders, layers): the tests beside this one find each.

Bugs of single records are in test_planted_bugs.py.  Here `find` runs all tests of a room's modules that need neither
Hypothesis nor a fixture, and a few of the drawn ones on one fixed example.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import test_autograd
import test_data_io
import test_indexing
import test_nn
import test_optim
import test_random
import test_recorded_torch
import test_tensor

import minitensor as mt
from minitensor import autograd, dispatch, functional, indexing, value
from minitensor.data import loader
from minitensor.nn import module, normalisation
from minitensor.ops import slicing
from minitensor.optim import adam, optimizer, sgd
from minitensor.tape import Leaf

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
Check = Callable[[], object]


# --- the tape ----------------------------------------------------------------------------------------------------


def broadcasting_is_averaged_away(patch: Patch) -> None:
    right = autograd.conform

    def averaged(gradient: Any, x: Any) -> Any:
        wide = gradient.size
        return right(gradient, x) * (np.prod(x.shape, dtype=int).item() / wide if wide else 1.0)

    patch.setattr(autograd, "conform", averaged)


def broadcasting_stays(patch: Patch) -> None:
    patch.setattr(autograd, "conform", lambda gradient, x: gradient)


def gradients_met_again_are_counted_twice(patch: Patch) -> None:
    right = autograd._Walk.add

    def add(self: Any, node: Any, gradient: Any) -> None:
        if node.order in self.gradients:
            right(self, node, gradient)
        right(self, node, gradient)

    patch.setattr(autograd._Walk, "add", add)


def gradients_met_again_replace_the_first(patch: Patch) -> None:
    right = autograd._Walk.add

    def add(self: Any, node: Any, gradient: Any) -> None:
        if node.order in self.gradients:
            self.gradients[node.order] = gradient
        else:
            right(self, node, gradient)

    patch.setattr(autograd._Walk, "add", add)


def backward_replaces_grad(patch: Patch) -> None:
    patch.setattr(autograd, "_accumulate", lambda target, gradient, create_graph: setattr(target, "grad", gradient))


def nodes_are_visited_before_all_that_used_them(patch: Patch) -> None:
    """The earliest made first."""
    push = lambda heap, item: (heap.append(item), heap.sort(reverse=True))  # noqa: E731
    patch.setattr(autograd, "heapq", SimpleNamespace(heappush=push, heappop=lambda heap: heap.pop(0)))


def gradients_have_no_tape(patch: Patch) -> None:
    right = autograd._propagate
    patch.setattr(autograd, "_propagate", lambda walk, wanted, create_graph: right(walk, wanted, False))


def the_tape_keeps_leaves_alive(patch: Patch) -> None:
    patch.setattr("minitensor.tensor.make_leaf", lambda tensor: Leaf(lambda: tensor))  # type: ignore[arg-type]


def no_grad_reaches_other_threads(patch: Patch) -> None:
    """Those that have set nothing themselves: what they find is the class's."""
    kind, enter, leave = type(value.local), autograd.no_grad.__enter__, autograd.no_grad.__exit__
    patch.setattr(kind, "grad_enabled", True)  # comes back afterwards

    def enter_everywhere(self: Any) -> None:
        enter(self)
        kind.grad_enabled = self.enabled

    def leave_everywhere(self: Any, *error: Any) -> None:
        leave(self, *error)
        kind.grad_enabled = value.local.grad_enabled

    for name, method in (("__enter__", enter_everywhere), ("__exit__", leave_everywhere)):
        patch.setattr(autograd.no_grad, name, method)


def the_tape_sees_later_writes(patch: Patch) -> None:
    """Into borrowed memory."""
    patch.setattr(value.Value, "snapshot", lambda self: self)


# --- values ------------------------------------------------------------------------------------------------------


def assignment_writes_through(patch: Patch) -> None:
    op = slicing.setitem
    right = op.eager

    def in_place(x: Any, new: Any, **attributes: Any) -> Any:
        result = right(x, new, **attributes)
        with suppress(ValueError):  # seen from outside: no longer writable
            x[...] = result
        return result

    _set_rule(patch, op, in_place)


def _set_rule(patch: Patch, op: Any, rule: Any) -> None:
    """Records are frozen: past their guard, and back."""
    patch.setattr(type(op), "__setattr__", object.__setattr__)
    patch.setattr(op, "eager", rule)


def detaching_gives_the_tensor_itself(patch: Patch) -> None:
    patch.setattr(mt.Tensor, "detach", lambda self: self)


def whole_slices_are_the_same_object(patch: Patch) -> None:
    right = indexing.getitem
    patch.setattr(indexing, "getitem", lambda x, key: x if key == slice(None) else right(x, key))


def numpy_can_write(patch: Patch) -> None:
    patch.setattr("minitensor.tensor.read_only", lambda contents: value.read(contents).view())


def results_share_borrowed_memory(patch: Patch) -> None:
    patch.setattr(dispatch, "settle", lambda result, contents: np.asarray(result))


# --- optimisers --------------------------------------------------------------------------------------------------


def adam_forgets_the_bias_correction(patch: Patch) -> None:
    right = adam.Adam.update

    def update(self: Any, param: Any, grad: Any, state: Any) -> None:
        if not state:
            state.update(step=10**6, mean=adam.zeros_for(param), square=adam.zeros_for(param))
        right(self, param, grad, state)

    patch.setattr(adam.Adam, "update", update)


def momentum_is_ignored(patch: Patch) -> None:
    right = sgd.SGD.update
    patch.setattr(sgd.SGD, "update", lambda self, param, grad, state: right(self, param, grad, {}))


def adam_decays_like_adamw(patch: Patch) -> None:
    patch.setattr(adam.Adam, "decoupled", True)


def parameters_share_their_state(patch: Patch) -> None:
    right = optimizer.Optimizer.__init__

    def start(self: Any, params: Any, lr: float) -> None:
        right(self, params, lr)
        self.state = [{}] * len(self.params)

    patch.setattr(optimizer.Optimizer, "__init__", start)


def checkpoints_leave_the_state_out(patch: Patch) -> None:
    right = optimizer.Optimizer.state_dict
    patch.setattr(optimizer.Optimizer, "state_dict", lambda self: {**right(self), "state": [{} for _ in self.params]})


# --- random draws and loaders ------------------------------------------------------------------------------------


def draws_do_not_advance(patch: Patch) -> None:
    right = mt.random.Generator._take

    def take(self: Any) -> Any:
        state = self._state
        words = right(self)
        self._state = state
        return words

    patch.setattr(mt.random.Generator, "_take", take)


def seeds_count_by_their_low_word(patch: Patch) -> None:
    right = mt.random.Generator.seed
    patch.setattr(mt.random.Generator, "seed", lambda self, seed: right(self, seed if seed < 0 else seed % 2**32))


def draws_count_by_their_low_byte(patch: Patch) -> None:
    right = mt.random.Generator._take

    def take(self: Any) -> Any:
        self._state = self._state[0], self._state[1] % 256
        return right(self)

    patch.setattr(mt.random.Generator, "_take", take)


def the_loader_repeats_its_first_batch(patch: Patch) -> None:
    right = loader.DataLoader.__iter__

    def batches(self: Any) -> Iterator[Any]:
        all_of_them = list(right(self))
        return iter([all_of_them[0]] * len(all_of_them))

    patch.setattr(loader.DataLoader, "__iter__", batches)


def every_pass_has_the_same_order(patch: Patch) -> None:
    right = loader.DataLoader.__iter__

    def batches(self: Any) -> Iterator[Any]:
        state = self.generator.get_state()
        yield from right(self)
        self.generator.set_state(state)

    patch.setattr(loader.DataLoader, "__iter__", batches)


def the_short_batch_is_never_dropped(patch: Patch) -> None:
    patch.setattr(loader.DataLoader, "__len__", lambda self: -(-len(self.dataset) // self.batch_size))


# --- layers ------------------------------------------------------------------------------------------------------


def dropout_does_not_scale(patch: Patch) -> None:
    right = functional.dropout
    patch.setattr(functional, "dropout", lambda x, p=0.5, training=True: right(x, p, training) * (1.0 - p))


def running_variance_is_biased(patch: Patch) -> None:
    right = normalisation.BatchNorm2d.forward

    def forward(self: Any, x: Any) -> Any:
        before = self.running_var.detach()
        result = right(self, x)
        count = x.size // x.shape[1]
        with mt.no_grad():
            self.running_var[...] = before + (self.running_var - before) * ((count - 1) / count)
        return result

    patch.setattr(normalisation.BatchNorm2d, "forward", forward)


def eval_stops_at_the_first_level(patch: Patch) -> None:
    def train(self: Any, mode: bool = True) -> Any:
        self.training = mode
        return self

    patch.setattr(module.Module, "train", train)


def state_is_shared_with_the_module(patch: Patch) -> None:
    patch.setattr(module.Module, "state_dict", lambda self: dict(self._named_tensors()))


# --- finders -----------------------------------------------------------------------------------------------------

LONG = {"test_depth_is_bounded_by_memory_only", "test_every_quantile_within_bound", "test_distributions"}


def checks_of(tests: ModuleType) -> Iterator[Check]:
    """The tests of a module, one for each set of parameters; without drawn ones and those that need a fixture."""
    for name, test in inspect.getmembers(tests, inspect.isfunction):
        own = name.startswith("test_") and test.__module__ == tests.__name__ and name not in LONG
        if not own or hasattr(test, "hypothesis"):
            continue
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        if len(marks) > 1 or (not marks and inspect.signature(test).parameters):
            continue
        if not marks:
            yield test
            continue
        names, cases = marks[0].args
        single = isinstance(names, str) and "," not in names
        for case in cases:
            yield partial(test, case) if single else partial(test, *case)


def drawn(test: Any, *example: Any) -> Check:
    """A drawn test on one example."""
    return lambda: test.hypothesis.inner_test(*example)


ROOMS: list[tuple[list[Check], list[Plant]]] = [
    (
        [*checks_of(test_autograd), *checks_of(test_tensor)],
        [
            broadcasting_is_averaged_away,
            broadcasting_stays,
            gradients_met_again_are_counted_twice,
            gradients_met_again_replace_the_first,
            backward_replaces_grad,
            nodes_are_visited_before_all_that_used_them,
            gradients_have_no_tape,
            the_tape_keeps_leaves_alive,
            no_grad_reaches_other_threads,
            the_tape_sees_later_writes,
        ],
    ),
    (
        [*checks_of(test_tensor), drawn(test_indexing.test_writing_is_numpys, (np.arange(6.0), slice(1, 4)), False)],
        [
            assignment_writes_through,
            detaching_gives_the_tensor_itself,
            whole_slices_are_the_same_object,
            numpy_can_write,
            results_share_borrowed_memory,
        ],
    ),
    (
        [*checks_of(test_optim), *checks_of(test_recorded_torch)],
        [
            adam_forgets_the_bias_correction,
            momentum_is_ignored,
            adam_decays_like_adamw,
            parameters_share_their_state,
            checkpoints_leave_the_state_out,
        ],
    ),
    (
        [
            *checks_of(test_random),
            *checks_of(test_data_io),
            drawn(test_random.test_state_restores_every_kind_of_draw, 2**63 + 5),
            drawn(test_random.test_a_draw_is_the_definitions_at_every_word_of_seed_and_draw, 2**63 + 5, 2**62 + 7),
            drawn(test_data_io.test_every_sample_once, 10, 3, True, False),
            drawn(test_data_io.test_every_sample_once, 10, 3, False, True),
        ],
        [
            draws_do_not_advance,
            seeds_count_by_their_low_word,
            draws_count_by_their_low_byte,
            the_loader_repeats_its_first_batch,
            every_pass_has_the_same_order,
            the_short_batch_is_never_dropped,
        ],
    ),
    (
        [*checks_of(test_nn), *checks_of(test_recorded_torch)],
        [
            dropout_does_not_scale,
            running_variance_is_biased,
            eval_stops_at_the_first_level,
            state_is_shared_with_the_module,
        ],
    ),
]


def find(checks: list[Check]) -> None:
    """Runs checks until one fails."""
    for check in checks:
        check()


@pytest.mark.parametrize(
    ("checks", "plant"),
    [pytest.param(checks, plant, id=plant.__name__) for checks, bugs in ROOMS for plant in bugs],
)
def test_planted_bug_is_found(checks: list[Check], plant: Plant, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    with pytest.raises((Exception, pytest.fail.Exception)):  # whatever it is, it is found
        find(checks)


@pytest.mark.parametrize("checks", [checks for checks, _ in ROOMS], ids=["tape", "values", "optim", "data", "nn"])
def test_nothing_is_found_without_a_bug(checks: list[Check]) -> None:
    """After all the others: no bug stays planted."""
    assert len(checks) > 10
    find(checks)

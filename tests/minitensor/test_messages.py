"""What bad arguments are answered with: an error of this library that says what to do, never one from inside it."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import minitensor as mt
from minitensor import functional as F, nn, optim, other_names
from minitensor.errors import MinitensorError

# --- what is no tensor ---------------------------------------------------------------------------------------

NO_TENSORS: list[Any] = [[1.0, 2.0], None, "a", 2.5, {}, np.array([1, None], dtype=object)]
INIT = {name: getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and name[0] != "_"}
PUBLIC: dict[str, Callable[..., Any]] = {
    **{name: getattr(mt, name) for name in mt.__all__},
    **{f"F.{name}": getattr(F, name) for name in F.__all__},
    **{f"linalg.{name}": getattr(mt.linalg, name) for name in mt.linalg.__all__},
    **{f"fft.{name}": getattr(mt.fft, name) for name in mt.fft.__all__},
    **{f"init.{name}": function for name, function in INIT.items()},
}
_STAND_INS: tuple[tuple[str, Any], ...] = (
    ("Sequence[Tensor]", [mt.ones((2, 2))]),
    ("Tensor", mt.ones((2, 2))),
    ("float", 1.0),
    ("str", "ij"),
    ("Sequence", (0, 1)),
)


TAKE_LISTS = {"isin", "stack"}
TAKE_NUMBERS = {
    *(f"F.{name}_loss" for name in ("gaussian_nll", "huber", "l1", "margin_ranking", "mse", "smooth_l1")),
    *("F.triplet_margin_loss", "F.binary_cross_entropy", "F.binary_cross_entropy_with_logits"),
}


def stand_in(parameter: inspect.Parameter) -> Any:
    return next((value for words, value in _STAND_INS if words in str(parameter.annotation)), 1)


def takes_tensors() -> list[str]:
    functions = {name: f for name, f in PUBLIC.items() if inspect.isfunction(f)}
    return [n for n, f in functions.items() if any("Tensor" in str(p.annotation) for p in required(f))]


def required(function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    return [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]


def called(function: Callable[..., Any], given: list[Any]) -> None:
    """Calls a function with a value for each of its required parameters."""
    pairs = list(zip(given, required(function), strict=True))
    positional = [v for v, p in pairs if p.kind is not p.KEYWORD_ONLY]
    function(*positional, **{p.name: v for v, p in pairs if p.kind is p.KEYWORD_ONLY})


@pytest.mark.parametrize("name", takes_tensors())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tensors_of_any_rank_are_taken_or_refused_in_our_words(name: str) -> None:
    parameters = required(PUBLIC[name])
    places = [k for k, p in enumerate(parameters) if stand_in(p).__class__ is mt.Tensor][:2]
    for shapes in itertools.product([(), (3,), (0,), (2, 3), (2, 0, 3), (1, 2, 0, 3)], repeat=len(places)):
        given = [stand_in(p) for p in parameters]
        for place, shape in zip(places, shapes, strict=True):
            given[place] = mt.ones(shape)
        with contextlib.suppress(MinitensorError):
            called(PUBLIC[name], given)


@pytest.mark.parametrize("name", takes_tensors())
def test_what_is_no_tensor_is_refused_in_our_words(name: str) -> None:
    function = PUBLIC[name]
    parameters = required(function)
    for place, parameter in enumerate(parameters):
        if "Tensor" not in str(parameter.annotation):
            continue
        for wrong in NO_TENSORS:
            try:
                called(function, [wrong if k == place else stand_in(p) for k, p in enumerate(parameters)])
            except (MinitensorError, BufferError):  # the latter is DLPack's own, and says what it is about
                continue
            is_known = name in TAKE_LISTS or (isinstance(wrong, float) and name in TAKE_NUMBERS)
            assert is_known, f"{name} took {wrong!r} for {parameter.name}"


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: mt.sum([1, 2]), r"a tensor is expected, not list \[1, 2\]: asarray\(\) makes a tensor of it"),
        (lambda x: x + np.array([None, 1]), "not an array of object"),
        (lambda x: mt.exp(None), "not None"),
        (lambda x: mt.conj(2.0), r"takes a tensor, not 2.0: asarray\(\)"),
        (lambda x: mt.stack(x), "a list or tuple of tensors, not Tensor"),
        (lambda x: mt.sum(x, axis=2), r"axis 2 of a tensor with 2 dimensions; there are -2 \.\.\. 1"),
        (lambda x: mt.sum(x, axis="rows"), "an axis is an int, not 'rows'"),
        (lambda x: x @ x, r"shapes \(2, 3\) and \(2, 3\) do not fit: the dimension summed over"),
        (lambda x: mt.full((2,), "1"), "a number is expected, not '1'|not str '1'"),
        (lambda x: mt.astype(x, None), "no dtype None"),
        (lambda x: mt.finfo(mt.int8), "finfo is of floating-point dtypes, not of int8"),
        (lambda x: mt.repeat(x, mt.asarray([1, 2, 3]), axis=0), r"an integer or 2 of them, not int64\[3\]"),
        (lambda x: mt.random.randint((3,), 0, 10), r"low is an int, not \(3,\)"),
        (lambda x: mt.searchsorted(x, x), r"one dimension, x1 is \(2, 3\)"),
        (lambda x: mt.linalg.norm(x, "fro", axis=0), "order 'fro' is of matrices"),
        (lambda x: mt.tensor([1.0]), r"mt.tensor is a module, no function: use mt.asarray"),
        (lambda x: mt.Tensor([1.0]).shape, r"asarray\(\[1.0\]\) makes a tensor"),
        (lambda x: x.backward(), r"no tape: nothing it came from requires grad, or it was made under no_grad\(\)"),
        (lambda x: mt.grad(x), "a function is differentiated, not Tensor"),
        (lambda x: mt.grad(lambda y: y.sum(), argnums=1)(x), "argnums 1 of 1 positional arguments"),
        (lambda x: F.mse_loss(mt.ones((4, 1)), mt.ones(4)), r"prediction of shape \(4, 1\) and a target of \(4,\)"),
        (lambda x: F.conv2d(mt.ones((1, 1, 4, 4)), mt.ones((1, 1, 2, 2)), stride=0), "stride 0"),
        (lambda x: F.max_pool2d(mt.ones((1, 1, 4, 4)), 0), r"window \(0, 0\)"),
        (lambda x: nn.Linear(3, "4"), r"a shape is an int or several, not \('4', 3\)"),
        (
            lambda x: nn.Sequential([nn.ReLU()]),
            r"found list; Sequential takes them one by one: Seq",
        ),
        (lambda x: nn.Sequential(F.relu), r"nn has functions as modules, such as nn.ReLU\(\)"),
        (lambda x: nn.Linear(2, 2).load_state_dict({}), r"^state_dict does not fit: missing \['bias', 'weight'\]"),
        (lambda x: optim.SGD([], lr=0.1), "nn.ModuleList"),
        (lambda x: f"{x:q}", "format 'q' of a float32 tensor"),
        (lambda x: mt.asarray(2**70), "it is 1180591620717411303424, which int64 and uint64 cannot hold; give a float"),
        (
            lambda x: mt.asarray([[1], [2**70]]),
            r"element \[1\]\[0\] is 11805.*cannot hold; give a float or another dtype",
        ),
        (lambda x: mt.asarray([300], dtype="int8"), r"element \[0\] is 300, which int8 cannot hold"),
        (lambda x: mt.asarray([1, "b"]), r"element \[1\] is 'b', a str; give numbers, or nested lists"),
        (lambda x: mt.asarray(None), "it is None; give numbers"),
        (lambda x: mt.asarray(object), "it is <class 'object'>, a type; give numbers"),
        (lambda x: mt.asarray([1j], dtype="float32"), r"element \[0\] is 1j, which is complex; give its .real"),
        (lambda x: mt.asarray([[1], [1, 2]]), r"element \[0\] has shape \(1,\) and element \[1\] has \(2,\).*pad them"),
        (lambda x: mt.asarray([[[1], 2], 3]), r"element \[0\]\[0\] has shape \(1,\) and element \[0\]\[1\] has \(\)"),
        (lambda x: mt.asarray(nested(65)), "nested more than 64 deep: no tensor has more dimensions"),
        (lambda x: mt.asarray(1, copy=False), "int has no memory to borrow; leave out copy=False"),
        (lambda x: mt.zeros(2, dtype="int8") + 10**5000, "an int of 16610 bits.*astype\\(\\) a wider dtype"),
        (lambda x: x[10**5000], "index an int of 16610 bits is out of bounds"),
        (lambda x: x[1.5:], r"the bounds and the step of a slice are ints or None, not slice\(1.5"),
        (lambda x: mt.arange("3"), "arange's stop is a real number, not '3'"),
        (lambda x: mt.arange(0, float("inf")), "arange from 0 to inf in steps of 1 has no end: give finite numbers"),
        (lambda x: mt.linspace(0, 1, 1.5), "linspace's number is an int, not 1.5"),
        (lambda x: mt.linspace(0, 1, 2**70), "more than any memory holds"),
        (lambda x: mt.linspace(None, 1, 3), "an end of linspace is a real number, not None"),
        (lambda x: mt.linspace(0, 10**400, 3), "floats end at 1.8e308"),
        (lambda x: mt.full((4,), x), r"shape \(4,\) cannot be filled with one of \(2, 3\)|do not broadcast"),
        (lambda x: mt.full((3,), x), r"cannot be filled with one of \(2, 3\): give a number"),
        (lambda x: mt.eye(3, k=1.5), "the number of a diagonal is an int, not 1.5"),
        (lambda x: mt.reshape(x, (1.5,)), r"a shape is an int or several, not \(1.5,\)"),
        (lambda x: mt.roll(x, 1.5), "a shift of roll is an int, not 1.5"),
        (lambda x: mt.tile(x, -1), r"tile with \(-1,\) repetitions: there are none below 0"),
        (lambda x: mt.var(x, correction="a"), "var's correction is a real number, not 'a'"),
        (lambda x: mt.linalg.matrix_power(mt.eye(2), 0.5), "the power of a matrix is an int, not 0.5"),
        (lambda x: mt.random.seed("a"), "a seed is an int, not 'a'"),
    ],
)
def test_messages_say_what_to_do(call: Callable[[mt.Tensor], Any], words: str) -> None:
    with pytest.raises(MinitensorError, match=words):
        call(mt.ones((2, 3)))


MASKED: Any = np.ma.masked_array(np.arange(3.0), mask=[False, True, False])


@pytest.mark.parametrize("use", [mt.asarray, mt.exp, lambda x: mt.ones((3,)) + x, lambda x: x + mt.ones((3,)),
                                 lambda x: mt.asarray([x, x])])  # fmt: skip
def test_a_mask_is_not_dropped(use: Callable[[Any], Any]) -> None:
    with pytest.raises(MinitensorError, match=re.escape(".filled(value)")):
        use(MASKED)
    use(np.ma.masked_array(np.arange(3.0), mask=False))  # nothing is masked
    use(MASKED.filled(2.0))


def test_an_axis_that_is_not_there_is_an_index_and_a_value() -> None:
    for builtin in (IndexError, ValueError):
        with pytest.raises(builtin):
            mt.expand_dims(mt.ones(2), axis=3)


def test_numbers_that_know_their_dtype_fill_tensors() -> None:
    assert mt.full((2,), np.float32(3)).dtype == mt.float32
    w = mt.asarray(3.0, requires_grad=True)
    mt.full((2, 2), w).sum().backward()
    assert w.grad is not None and w.grad.item() == 4.0


def test_a_list_of_tensors_that_require_grad_keeps_its_tape() -> None:
    x = mt.asarray([1.0, 2.0], requires_grad=True)
    stacked = mt.asarray([[x[0] * 3, 2.0], [x[1], x[1]]])
    assert stacked.tolist() == [[3.0, 2.0], [2.0, 2.0]]
    stacked.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [3.0, 2.0]
    assert mt.asarray([x, x], dtype="float64").dtype == mt.float64
    with pytest.raises(ValueError, match="a list of equal shapes"):
        mt.asarray([x, x[0]])


# --- names of other libraries --------------------------------------------------------------------------------

OWNERS: list[tuple[Any, Mapping[str, str]]] = [
    (mt, other_names.NAMESPACE),
    (mt.ones((2, 2)), other_names.TENSOR),
    (F, other_names.FUNCTIONAL),
    (mt.linalg, other_names.LINALG),
    (mt.random, other_names.RANDOM),
    (nn, other_names.NN),
    (nn.Linear(2, 2), other_names.MODULE),
    (optim, other_names.OPTIM),
]
HERE = {"mt": mt, "F": F, "nn": nn, "optim": optim, "x": mt.ones((2, 2)), "module": nn.Linear(2, 2)}


@pytest.mark.parametrize(("owner", "advice"), OWNERS)
def test_names_of_other_libraries_are_answered_with_names_that_are_here(owner: Any, advice: Mapping[str, str]) -> None:
    for name, text in advice.items():
        if owner is not mt or name not in ("tensor", "device"):  # which are modules, and answer when they are called
            with pytest.raises(AttributeError, match=re.escape(f"no attribute {name!r}: {text}")):
                getattr(owner, name)
        for root, path in re.findall(r"\b(mt|F|nn|optim|x|module)((?:\.\w+)+)\b(?! =)", text):
            place = HERE[root]
            for part in path[1:].split("."):
                place = getattr(place, part)
    with pytest.raises(AttributeError, match="no attribute 'nowhere'$"):
        _ = owner.nowhere

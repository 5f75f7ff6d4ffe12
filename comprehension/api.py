"""The public face: `define`, `Comprehension` (and `Kernel`, which has a module of its own).

In: a text (or a tree), arrays.  Out: arrays of the caller's kind; kernels that explain themselves.
Invariant: a kernel is made once for each combination of specs and settings, from the cache if it is there; the
meaning of a call never depends on which of the two happened.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from comprehension.errors import ComprehensionError, ComprehensionWarning, Diagnostic
from comprehension.jit import client
from comprehension.jit.arguments import Arguments, is_scalar, layouts_of, rank_of, specs_of, take_arguments
from comprehension.jit.arrays import Array
from comprehension.jit.cache import Artifact
from comprehension.jit.expression import evaluate
from comprehension.jit.kernel import Kernel as Kernel
from comprehension.jit.quick import Quick, error_of
from comprehension.jit.request import ComprehensionRequest, Math, Sizes, Target
from comprehension.jit.targets import Wanted, take_targets
from comprehension.kernel.size_text import text_of_tree
from comprehension.lang import tree
from comprehension.lang.binding import check_count
from comprehension.lang.check import check
from comprehension.lang.checked import CheckedDef
from comprehension.lang.expressions import Fault, propose
from comprehension.lang.frontend import SHOWN_LEADING, analyse, without_leading
from comprehension.lang.leading import at_rank, has_leading, leading_of, uses_leading
from comprehension.lang.limits import check_shape
from comprehension.lang.loops import LoopProgram, Role, TensorInfo
from comprehension.lang.parser import parse
from comprehension.lang.printer import to_text, type_text
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import Spec
from comprehension.layout import Layouts
from comprehension.machine import host
from comprehension.options import MappingOptions, options_of
from comprehension.poly.typical import likely_size
from comprehension.scheduling.schedule import Schedule, start

MAX_KERNELS = 512  # of one comprehension; then the one made first is dropped

Shapes = Spec | tuple[Spec, ...]


def define(text: str | tree.Program, sizes: Sizes = "static") -> Module:
    """Parses and checks a text; its defs are the attributes of the result.

    With `sizes="symbolic"` a call compiles one kernel for all sizes, and so does `compile` with arrays; otherwise one
    for each.  A program may pass the tree itself.

    Raises ComprehensionError with line, column and caret for whatever is wrong with the text.

    >>> module = define("def twice(float(N) A) -> (B) { B(i) = 2 * A(i) }")
    >>> module.defs
    ('twice',)
    >>> module.twice.reference(np.ones(2, np.float32))
    array([2., 2.], dtype=float32)
    """
    if sizes not in ("static", "symbolic"):
        raise ComprehensionError(f'define: sizes must be "static" or "symbolic", not {sizes!r}')
    if isinstance(text, str):
        program, source = parse(text), text
    elif isinstance(text, tree.Program):
        program, source = text, None
    else:
        raise ComprehensionError(f"define: expected the text of a comprehension, found a {type(text).__name__}")
    canonical = to_text(program)
    checked = check(program, source) if client.is_analysed(canonical) else analyse(program, source)
    for definition in checked.values():
        for warning in definition.warnings:
            warnings.warn(str(warning), ComprehensionWarning, stacklevel=2)
    if not uses_leading(program):
        return Module(tuple(Comprehension(definition, canonical, sizes) for definition in checked.values()))
    return Module(
        tuple(
            AnyRank(definition, program, source, sizes)
            if has_leading(definition)
            else Comprehension(checked[definition.name], to_text(at_rank(program, definition.name, 0)), sizes)
            for definition in program.defs
        )
    )


class Module:
    """The defs of one text: `module.name`, `module["name"]`, `module.defs`."""

    def __init__(self, comprehensions: Sequence[Comprehension]) -> None:
        self._comprehensions = {each.name: each for each in comprehensions}

    @property
    def defs(self) -> tuple[str, ...]:
        """The names of the defs, in the order of the text."""
        return tuple(self._comprehensions)

    def __getitem__(self, name: str) -> Comprehension:
        try:
            return self._comprehensions[name]
        except KeyError:
            raise ComprehensionError(self._unknown(name)) from None

    def __getattr__(self, name: str) -> Comprehension:
        found = self.__dict__.get("_comprehensions", {}).get(name)
        if found is None:
            raise AttributeError(self._unknown(name))
        comprehension: Comprehension = found
        return comprehension

    def _unknown(self, name: str) -> str:
        return f"unknown function {name!r}; there are {', '.join(self.defs)}{propose(str(name), self.defs)}"

    def __iter__(self) -> Iterator[Comprehension]:
        return iter(self._comprehensions.values())

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.defs]

    def __repr__(self) -> str:
        return f"<module of comprehensions: {', '.join(self.defs)}>"

    def _repr_html_(self) -> str:
        from comprehension.page import module_fragment  # pages are rare, and a program that only computes stays small

        return module_fragment(self)


@dataclass(frozen=True, slots=True)
class IndexRange:
    """The range of one index of one statement: `lower <= index < upper`, and the constraint that gave it."""

    statement: str
    index: str
    lower: str
    upper: str
    because: str

    def __str__(self) -> str:
        return f"{self.statement}: {self.index} in {self.lower}:{self.upper}" + (
            f"  because {self.because}" if self.because else ""
        )


class Comprehension:
    """One def: call it with arrays and scalars in the order of its parameters."""

    def __init__(self, definition: CheckedDef, text: str, sizes: Sizes) -> None:
        self.definition = definition
        self.name = definition.name
        self.text = text
        self.sizes: Sizes = sizes
        self._parameters = tuple(param.name for param in definition.parameters)
        self._kernels: dict[tuple[Any, ...], Kernel] = {}
        self._by_arrays: dict[tuple[Any, ...], Kernel] = {}  # of plain calls: found without looking at specs
        self._by_specs: dict[tuple[Any, ...], Kernel] = {}  # of plain calls with other libraries' arrays
        self._quick = Quick()
        self._lock = threading.Lock()

    def __call__(self, *inputs: Any, out: Any = None) -> Any:
        """The outputs: one array, or a tuple in the order of the returns; into `out` if given.

        Specs not seen before are compiled first.

        Raises ComprehensionError for arguments that do not fit, CompilationError where no kernel came about.
        """
        call = self._quick.call
        found = call(*inputs, out)
        if found is None:
            return self._call_slowly(inputs, out)
        if type(found) is bytes:
            raise error_of(call, found)
        return found

    def _call_slowly(self, inputs: tuple[Any, ...], out: Any) -> Any:
        """Finds or compiles the kernel; lets later calls with arguments like these go straight to it."""
        key = tuple([(v.shape, v.dtype) if type(v) is np.ndarray else type(v) for v in inputs])
        kernel = self._by_arrays.get(key)
        if kernel is None:
            arguments = take_arguments(self.definition, inputs)
            kernel = self._kernel(arguments.specs, layouts_of(self.definition, arguments.views, out))
            if all(type(v) is np.ndarray or isinstance(v, (bool, int, float)) for v in inputs):
                self._remember(self._by_arrays, key, kernel)
            results = kernel.launcher.launch(arguments.views, arguments.family, out)
        else:
            results = kernel.launcher.launch_slowly(inputs, out)
        self._quick.add(kernel.launcher.ticket)
        return results

    def compile(
        self,
        *inputs: Any,
        target: Target = "cpu",
        options: MappingOptions | str | None = None,
        math: Math = "fast",
        checked: bool = True,
    ) -> Kernel:
        """The kernel for inputs like these (arrays, or `Spec`s; a dimension's name makes it symbolic).

        A text defined with `sizes="symbolic"` leaves the sizes of arrays open; those of a `Spec` are what it says.  The
        kernel is planned for sizes like those of the arrays, and serves all; later calls get the same one.
        It is compiled for the strides of the arrays; called with others, it makes itself a variant for them.

        Raises ComprehensionError for specs that do not fit, CompilationError where no kernel came about.
        """
        return self._compile(self._requested(inputs, target, options, math, checked))

    def compile_async(
        self,
        *inputs: Any,
        target: Target = "cpu",
        options: MappingOptions | str | None = None,
        math: Math = "fast",
        checked: bool = True,
    ) -> Future[Kernel]:
        """Like `compile`, in the background: arguments are checked here, everything else fails in the future."""
        request = self._requested(inputs, target, options, math, checked)
        future: Future[Kernel] = Future()
        known = self._kernels.get(_settings(request))
        if known is not None:
            future.set_result(known)
            return future

        def settle(done: Future[Artifact]) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(self._made(request, done.result()))
            except BaseException as error:  # cancelled, or any failure: it belongs to who waits
                future.set_exception(error)

        self._artifact(request).add_done_callback(settle)
        return future

    def schedule(self, *inputs: Any, math: Math = "fast", checked: bool = True) -> Schedule:
        """The loops of the text for inputs like these, to be changed step by step; without inputs, for any sizes.

        Raises ComprehensionError for specs that do not fit.
        """
        given = inputs or tuple(
            Spec(p.type.dims, p.type.scalar) for p in self.definition.parameters if p.type is not None
        )
        request = self._requested(given, "cpu", None, math, checked)
        return start(request, self._compile, lambda r: infer(self.definition, r.specs, r.sizes))

    def reference(self, *inputs: Any, out: Any = None) -> Any:
        """What the text says, interpreted element by element: slow, and no compiler is involved."""
        arguments = take_arguments(self.definition, inputs)
        program = infer(self.definition, arguments.specs)
        arrays, scalars = self._split(arguments)
        outputs = [t for t in program.tensors if t.role in (Role.OUTPUT, Role.ACCUMULATED)]
        given: dict[str, Array] = {}
        if out is not None:
            known = {name: value.item() for name, value in scalars.items()}
            specs = [(t.name, _spec(f"{self.name}: {t.name}", t, known)) for t in outputs]
            wanted = [Wanted(name, tuple(map(int, spec.shape)), spec.dtype.numpy) for name, spec in specs]
            targets = take_targets(self.name, wanted, out, list(arrays.items()), arguments.family)
            given = {result.name: target.copy() for result, target in zip(wanted, targets, strict=True)}
        found = run(program, arrays, scalars, given, self.definition.text)
        if out is not None:  # written at last: an error on the way leaves the caller's arrays as they were
            for result, target in zip(wanted, targets, strict=True):
                np.copyto(target, found[result.name])
            return out
        results = [arguments.family.wrap(found[t.name]) for t in outputs]
        return results[0] if len(results) == 1 else tuple(results)

    def infer(self, *inputs: Any) -> Shapes:
        """Shape and type of the output, or a tuple of them; sizes that stay symbolic are named.

        >>> f = define("def f(float(M,K) A) -> (B) { B(k, m) = A(m, k) }").f
        >>> f.infer(Spec((2, 3), "float32"))
        Spec(shape=(3, 2), dtype=<ScalarType.FLOAT32: 'float32'>)
        """
        program = self._program(inputs)
        values = {p.name: v for p, v in zip(self.definition.parameters, inputs, strict=True) if is_scalar(p)}
        known = {name: np.asarray(value).item() for name, value in values.items() if not isinstance(value, Spec)}
        for precondition in program.preconditions:
            if _value(precondition.condition, known) == 0:
                place = Diagnostic.at(f"{self.name}: {precondition.message}", precondition.span, self.definition.text)
                raise ComprehensionError([place])
        found = tuple(
            _spec(f"{self.name}: {tensor.name}", tensor, known)
            for tensor in program.tensors
            if tensor.role in (Role.OUTPUT, Role.ACCUMULATED)
        )
        return found[0] if len(found) == 1 else found

    @property
    def signature(self) -> str:
        """The parameters as the text has them, the results with the shapes and types that were inferred.

        >>> define("def f(float(N) A, float(K) W) -> (O) { O(h) +=! A(h + k) * W(k) }").f.signature
        'f(float(N) A, float(K) W) -> (float(N - K + 1) O)'
        """
        program = infer(self.definition, None, "symbolic")
        given = ", ".join(f"{type_text(p.type)} {p.name}" for p in self.definition.parameters if p.type is not None)
        made = ", ".join(
            f"{type_text(tree.TensorType(t.dtype, tuple(map(to_text, t.shape))))} {t.name}"
            for t in program.tensors
            if t.role in (Role.OUTPUT, Role.ACCUMULATED)
        )
        return f"{self.name}({given}) -> ({made})"

    def ranges(self, *inputs: Any) -> tuple[IndexRange, ...]:
        """The range of each index of each statement, with the constraint that gave it."""
        return tuple(
            IndexRange(statement.name, i.name, to_text(i.lower), to_text(i.upper), i.because)
            for statement in self._program(inputs).statements
            for i in statement.indices
        )

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels made so far, in order."""
        return tuple(self._kernels.values())

    def __repr__(self) -> str:
        return f"<comprehension {self.name}({', '.join(self._parameters)})>"

    def _repr_html_(self) -> str:
        from comprehension.page import comprehension_fragment

        return comprehension_fragment(self)

    # --- making kernels ---------------------------------------------------------------------------------------

    def _program(self, inputs: Sequence[Any]) -> LoopProgram:
        specs = specs_of(self.definition, inputs)
        return infer(self.definition, specs, _sizes_of(specs))

    def _kernel(self, specs: tuple[Spec, ...], layouts: Layouts) -> Kernel:
        """The kernel of a plain call; made for arrays of these layouts if there is none yet."""
        seen = specs
        if self.sizes == "symbolic":
            specs = symbolic(self.definition, specs)
        kernel = self._by_specs.get(specs)
        if kernel is None:
            kernel = self._compile(self._request(specs, "cpu", None, "fast", True, layouts, seen))
            self._remember(self._by_specs, specs, kernel)
        return kernel

    def _requested(
        self, inputs: Sequence[Any], target: Target, options: MappingOptions | str | None, math: Math, checked: bool
    ) -> ComprehensionRequest:
        """The request for a kernel for inputs like these."""
        specs = seen = specs_of(self.definition, inputs)
        if self.sizes == "symbolic":
            opened = zip(inputs, specs, symbolic(self.definition, specs), strict=True)
            specs = tuple(spec if isinstance(given, Spec) else left_open for given, spec, left_open in opened)
        layouts = layouts_of(self.definition, inputs) if target == "cpu" else ()
        return self._request(specs, target, options, math, checked, layouts, seen)

    def _request(
        self,
        specs: tuple[Spec, ...],
        target: Target,
        options: MappingOptions | str | None,
        math: Math,
        checked: bool,
        layouts: Layouts = (),
        seen: tuple[Spec, ...] = (),
    ) -> ComprehensionRequest:
        """`seen`: the specs of the inputs themselves, with sizes to plan for where `specs` leave them open."""
        if target not in ("cpu", "cuda"):
            raise ComprehensionError(f'compile: target must be "cpu" or "cuda", not {target!r}')
        if math not in ("fast", "strict"):
            raise ComprehensionError(f'compile: math must be "fast" or "strict", not {math!r}')
        if not isinstance(checked, bool):
            raise ComprehensionError(f"compile: checked must be True or False, not {checked!r}")
        return ComprehensionRequest(
            name=self.name,
            text=self.text,
            specs=specs,
            sizes=_sizes_of(specs),
            target=target,
            options=options_of(options),
            math=math,
            checked=checked,
            machine=host(),
            layouts=layouts,
            likely=_likely(specs, seen) if target == "cpu" else (),
        )

    def _compile(self, request: ComprehensionRequest) -> Kernel:
        known = self._kernels.get(_settings(request))
        return known if known is not None else self._made(request, self._artifact(request, urgent=True).result())

    def _artifact(self, request: ComprehensionRequest, urgent: bool = False) -> Future[Artifact]:
        """From the cache or the compiler; before it compiles, what is wrong with the sizes is said with its place."""
        return client.submit(request, urgent, lambda: infer(self.definition, request.specs, request.sizes))

    def _made(self, request: ComprehensionRequest, artifact: Artifact) -> Kernel:
        """The kernel of an artifact; two threads that made one at once get the same."""
        settings = _settings(request)
        with self._lock:
            known = self._kernels.get(settings)
            if known is None:
                known = Kernel(request, artifact, self._parameters)
                self._remember(self._kernels, settings, known)
            return known

    @staticmethod
    def _remember(kernels: dict[tuple[Any, ...], Kernel], key: tuple[Any, ...], kernel: Kernel) -> None:
        while len(kernels) >= MAX_KERNELS:
            kernels.pop(next(iter(kernels)), None)
        kernels[key] = kernel

    def _split(self, arguments: Arguments) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays: dict[str, Any] = {}
        scalars: dict[str, Any] = {}
        for param, view in zip(self.definition.parameters, arguments.views, strict=True):
            if is_scalar(param):
                scalars[param.name] = view[0]
            else:
                arrays[param.name] = view
        return arrays, scalars


class AnyRank(Comprehension):
    """A def with `...`: a comprehension for each number of leading dimensions, made when a call has that many.

    What needs no inputs (`signature`, `definition`) shows one leading dimension.

    >>> f = define("def f(float(..., K) A, float(K) s) -> (B) { B(..., k) = A(..., k) * s(k) }").f
    >>> f.infer(Spec((2, 3, 4), "float32"), Spec((4,), "float32")).shape
    (2, 3, 4)
    >>> f.at_rank(2)
    <comprehension f(A, s)>
    """

    def __init__(self, definition: tree.Def, program: tree.Program, source: str | None, sizes: Sizes) -> None:
        shown = without_leading(program, definition.name, source)
        super().__init__(check(shown, source)[definition.name], to_text(shown), sizes)
        self._tree = definition
        self._source = program, source
        self._ranks: dict[int, Comprehension] = {}

    def at_rank(self, leading: int) -> Comprehension:
        """The comprehension for so many leading dimensions.

        Raises ComprehensionError where the text has no meaning for that many.
        """
        known = self._ranks.get(leading)
        if known is None:
            program, source = self._source
            alone = without_leading(program, self.name, source, leading)
            made = Comprehension(analyse(alone, source)[self.name], to_text(alone), self.sizes)
            known = self._ranks.setdefault(leading, made)  # of two threads the first
        return known

    def _of(self, inputs: Sequence[Any]) -> Comprehension:
        """The comprehension for inputs like these."""
        check_count(self.definition, len(inputs))
        names = (f"{self.name}: {param.name}" for param in self._tree.inputs)
        ranks = [rank_of(value, name) for value, name in zip(inputs, names, strict=True)]
        try:
            return self.at_rank(leading_of(self._tree, ranks))
        except Fault as fault:
            raise ComprehensionError(f"{self.name}: {fault}") from None

    def __call__(self, *inputs: Any, out: Any = None) -> Any:
        return self._of(inputs)(*inputs, out=out)

    def compile(self, *inputs: Any, **settings: Any) -> Kernel:
        return self._of(inputs).compile(*inputs, **settings)

    def compile_async(self, *inputs: Any, **settings: Any) -> Future[Kernel]:
        return self._of(inputs).compile_async(*inputs, **settings)

    def schedule(self, *inputs: Any, **settings: Any) -> Schedule:
        return (self._of(inputs) if inputs else self.at_rank(SHOWN_LEADING)).schedule(*inputs, **settings)

    def reference(self, *inputs: Any, out: Any = None) -> Any:
        return self._of(inputs).reference(*inputs, out=out)

    def infer(self, *inputs: Any) -> Shapes:
        return self._of(inputs).infer(*inputs)

    def ranges(self, *inputs: Any) -> tuple[IndexRange, ...]:
        return self._of(inputs).ranges(*inputs)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return tuple(kernel for each in self._ranks.values() for kernel in each.kernels)


def symbolic(definition: CheckedDef, specs: Sequence[Spec]) -> tuple[Spec, ...]:
    """The specs with each named size of the def left open."""
    return tuple(
        Spec(param.type.dims if param.type is not None else spec.shape, spec.dtype)
        for param, spec in zip(definition.parameters, specs, strict=True)
    )


def _likely(specs: Sequence[Spec], seen: Sequence[Spec]) -> tuple[tuple[str, int], ...]:
    """About how large the sizes are that specs leave open, by the shapes at hand."""
    found: dict[str, int] = {}
    for spec, like in zip(specs, seen, strict=bool(seen)):
        for name, size in zip(spec.shape, like.shape, strict=True):
            if isinstance(name, str) and isinstance(size, int):
                found.setdefault(name, likely_size(size))
    return tuple(sorted(found.items()))


def _sizes_of(specs: Sequence[Spec]) -> Sizes:
    return "symbolic" if any(isinstance(dim, str) for spec in specs for dim in spec.shape) else "static"


def _settings(request: ComprehensionRequest) -> tuple[Any, ...]:
    kind = (request.target, request.options, request.math, request.checked, request.steps)
    return (request.specs, request.layouts, *kind)


def _spec(name: str, tensor: TensorInfo, known: dict[str, Any]) -> Spec:
    """The spec of a tensor; an extent that is not `known` is its text."""
    shape = [_value(dim, known) for dim in tensor.shape]
    check_shape(name, [int(extent) for extent in shape if extent is not None], tensor.dtype)
    pairs = zip(tensor.shape, shape, strict=True)
    return Spec(tuple(text_of_tree(dim) if extent is None else int(extent) for dim, extent in pairs), tensor.dtype)


def _value(expr: tree.Expr, known: dict[str, Any]) -> float | None:
    """What an expression over sizes and scalars is, or None where one of them is not `known`."""
    try:
        return evaluate(text_of_tree(expr), known)
    except KeyError:
        return None

"""One def as a function of arrays: `Comprehension`.

In: a checked def; arrays.  Out: arrays of the caller's kind; kernels that explain themselves.
Invariant: a kernel is made once for each combination of specs and settings, from the cache if it is there; the
meaning of a call never depends on which of the two happened.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from comprehension.errors import ComprehensionError, Diagnostic, listed
from comprehension.jit import client
from comprehension.jit.arguments import Arguments, is_scalar, layouts_of, specs_of, take_arguments
from comprehension.jit.arrays import Array
from comprehension.jit.cache import Artifact
from comprehension.jit.expression import evaluate
from comprehension.jit.kernel import Kernel
from comprehension.jit.places import placed
from comprehension.jit.quick import Quick, error_of
from comprehension.jit.request import ComprehensionRequest, Math, Sizes, Target
from comprehension.jit.specialise import PLAIN, Settings, identity_of, request_for, sizes_of, symbolic
from comprehension.jit.targets import Wanted, take_targets
from comprehension.kernel.size_text import text_of_tree
from comprehension.lang import tree
from comprehension.lang.checked import CheckedDef
from comprehension.lang.interface import Interface
from comprehension.lang.limits import check_shape
from comprehension.lang.loops import LoopProgram, Role, TensorInfo
from comprehension.lang.printer import to_text, type_text
from comprehension.lang.types import Spec
from comprehension.layout import Layouts
from comprehension.options import MappingOptions
from comprehension.source import Source

if TYPE_CHECKING:
    from comprehension.scheduling.schedule import Schedule

MAX_KERNELS = 512  # of one comprehension; then the one made first is dropped

Shapes = Spec | tuple[Spec, ...]


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

    def __init__(self, interface: Interface, source: Source, sizes: Sizes) -> None:
        self.interface = interface
        self.name = interface.name
        self.text = source.text
        self.sizes: Sizes = sizes
        self._source = source
        self._parameters = tuple(param.name for param in interface.parameters)
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
        try:
            if found is None:
                return self._call_slowly(inputs, out)
            if type(found) is bytes:
                raise error_of(call, found)
            return found
        except ComprehensionError as error:
            raise self._placed(error, inputs) from error.__cause__

    def _call_slowly(self, inputs: tuple[Any, ...], out: Any) -> Any:
        """Finds or compiles the kernel; lets later calls with arguments like these go straight to it."""
        key = tuple([(v.shape, v.dtype) if type(v) is np.ndarray else type(v) for v in inputs])
        kernel = self._by_arrays.get(key)
        if kernel is None:
            arguments = take_arguments(self.interface, inputs)
            kernel = self._kernel(arguments.specs, layouts_of(self.interface, arguments.views, out))
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
        return self._compile(self._requested(inputs, Settings(target, options, math, checked)))

    def compile_async(
        self,
        *inputs: Any,
        target: Target = "cpu",
        options: MappingOptions | str | None = None,
        math: Math = "fast",
        checked: bool = True,
    ) -> Future[Kernel]:
        """Like `compile`, in the background: arguments are checked here, everything else fails in the future."""
        request = self._requested(inputs, Settings(target, options, math, checked))
        future: Future[Kernel] = Future()
        known = self._kernels.get(identity_of(request))
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
        from comprehension.scheduling.schedule import start  # not for programs that only call

        given = inputs or tuple(
            Spec(p.type.dims, p.type.scalar) for p in self.interface.parameters if p.type is not None
        )
        request = self._requested(given, Settings(math=math, checked=checked))
        return start(request, self._compile, lambda r: self._source.program(self.name, r.specs, r.sizes))

    def reference(self, *inputs: Any, out: Any = None) -> Any:
        """What the text says, interpreted element by element: slow, and no compiler is involved."""
        arguments = take_arguments(self.interface, inputs)
        try:
            return self._interpreted(arguments, out)
        except ComprehensionError as error:
            raise self._placed(error, inputs) from error.__cause__

    def _interpreted(self, arguments: Arguments, out: Any) -> Any:
        from comprehension.lang.reference import run

        program = self._source.program(self.name, arguments.specs)
        arrays, scalars = self._split(arguments)
        outputs = [t for t in program.tensors if t.role in (Role.OUTPUT, Role.ACCUMULATED)]
        given: dict[str, Array] = {}
        if out is not None:
            known = {name: value.item() for name, value in scalars.items()}
            specs = [(t.name, _spec(f"{self.name}: {t.name}", t, known)) for t in outputs]
            wanted = [Wanted(name, tuple(map(int, spec.shape)), spec.dtype.numpy) for name, spec in specs]
            targets = take_targets(self.name, wanted, out, list(arrays.items()), arguments.family)
            given = {result.name: target.copy() for result, target in zip(wanted, targets, strict=True)}
        found = run(program, arrays, scalars, given, self.interface.text)
        if out is not None:  # written at last: an error on the way leaves the caller's arrays as they were
            for result, target in zip(wanted, targets, strict=True):
                np.copyto(target, found[result.name])
            return out
        results = [arguments.family.wrap(found[t.name]) for t in outputs]
        return results[0] if len(results) == 1 else tuple(results)

    def infer(self, *inputs: Any) -> Shapes:
        """Shape and type of the output, or a tuple of them; sizes that stay symbolic are named.

        >>> import comprehension as tc
        >>> f = tc.define("def f(float(M,K) A) -> (B) { B(k, m) = A(m, k) }").f
        >>> f.infer(tc.Spec((2, 3), "float32"))
        Spec(shape=(3, 2), dtype=<ScalarType.FLOAT32: 'float32'>)
        """
        program = self._program(inputs)
        values = {p.name: v for p, v in zip(self.interface.parameters, inputs, strict=True) if is_scalar(p)}
        known = {name: np.asarray(value).item() for name, value in values.items() if not isinstance(value, Spec)}
        for precondition in program.preconditions:
            if _value(precondition.condition, known) == 0:
                message = f"{self.name}: {precondition.message}{listed(known)}"
                raise ComprehensionError([Diagnostic.at(message, precondition.span, self.interface.text)])
        outputs = [tensor for tensor in program.tensors if tensor.role in (Role.OUTPUT, Role.ACCUMULATED)]
        try:
            found = tuple(_spec(f"{self.name}: {tensor.name}", tensor, known) for tensor in outputs)
        except ComprehensionError as error:
            raise placed(error, self.interface, lambda: program) from None
        return found[0] if len(found) == 1 else found

    @property
    def definition(self) -> CheckedDef:
        """The checked def; where an earlier program compiled the text, it is read now."""
        return self._source.definition(self.name)

    @property
    def signature(self) -> str:
        """The parameters as the text has them, the results with the shapes and types that were inferred.

        >>> import comprehension as tc
        >>> tc.define("def f(float(N) A, float(K) W) -> (O) { O(h) +=! A(h + k) * W(k) }").f.signature
        'f(float(N) A, float(K) W) -> (float(N - K + 1) O)'
        """
        program = self._source.program(self.name, None, "symbolic")
        given = ", ".join(f"{type_text(p.type)} {p.name}" for p in self.interface.parameters if p.type is not None)
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

    def _placed(self, error: ComprehensionError, inputs: Sequence[Any]) -> ComprehensionError:
        """An error of a call at its place in the text."""

        def program() -> LoopProgram:
            specs = specs_of(self.interface, inputs)
            specs = symbolic(self.interface, specs) if self.sizes == "symbolic" else specs
            return self._source.program(self.name, specs, sizes_of(specs))

        return placed(error, self.interface, program)

    def _program(self, inputs: Sequence[Any]) -> LoopProgram:
        specs = specs_of(self.interface, inputs)
        return self._source.program(self.name, specs, sizes_of(specs))

    def _kernel(self, specs: tuple[Spec, ...], layouts: Layouts) -> Kernel:
        """The kernel of a plain call; made for arrays of these layouts if there is none yet."""
        seen = specs
        if self.sizes == "symbolic":
            specs = symbolic(self.interface, specs)
        kernel = self._by_specs.get(specs)
        if kernel is None:
            kernel = self._compile(request_for(self.name, self.text, specs, PLAIN, layouts, seen))
            self._remember(self._by_specs, specs, kernel)
        return kernel

    def _requested(self, inputs: Sequence[Any], settings: Settings) -> ComprehensionRequest:
        """The request for a kernel for inputs like these."""
        specs = seen = specs_of(self.interface, inputs)
        if self.sizes == "symbolic":
            opened = zip(inputs, specs, symbolic(self.interface, specs), strict=True)
            specs = tuple(spec if isinstance(given, Spec) else left_open for given, spec, left_open in opened)
        layouts = layouts_of(self.interface, inputs) if settings.target == "cpu" else ()
        return request_for(self.name, self.text, specs, settings, layouts, seen)

    def _compile(self, request: ComprehensionRequest) -> Kernel:
        known = self._kernels.get(identity_of(request))
        return known if known is not None else self._made(request, self._artifact(request, urgent=True).result())

    def _artifact(self, request: ComprehensionRequest, urgent: bool = False) -> Future[Artifact]:
        """From the cache or the compiler; before it compiles, what is wrong with the sizes is said with its place."""
        return client.submit(request, urgent, lambda: self._source.program(self.name, request.specs, request.sizes))

    def _made(self, request: ComprehensionRequest, artifact: Artifact) -> Kernel:
        """The kernel of an artifact; two threads that made one at once get the same."""
        identity = identity_of(request)
        with self._lock:
            known = self._kernels.get(identity)
            if known is None:
                program = partial(self._source.program, self.name, request.specs, request.sizes)
                placing = partial(placed, interface=self.interface, program=program)
                known = Kernel(request, artifact, self._parameters, placing)
                self._remember(self._kernels, identity, known)
                self._source.remember()
            return known

    @staticmethod
    def _remember(kernels: dict[tuple[Any, ...], Kernel], key: tuple[Any, ...], kernel: Kernel) -> None:
        while len(kernels) >= MAX_KERNELS:
            kernels.pop(next(iter(kernels)), None)
        kernels[key] = kernel

    def _split(self, arguments: Arguments) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays: dict[str, Any] = {}
        scalars: dict[str, Any] = {}
        for param, view in zip(self.interface.parameters, arguments.views, strict=True):
            if is_scalar(param):
                scalars[param.name] = view[0]
            else:
                arrays[param.name] = view
        return arrays, scalars


def _spec(name: str, tensor: TensorInfo, known: dict[str, Any]) -> Spec:
    """The spec of a tensor; an extent that is not `known` is its text."""
    shape = [_value(dim, known) for dim in tensor.shape]
    check_shape(name, [int(extent) for extent in shape if extent is not None], tensor.dtype, tensor.name)
    pairs = zip(tensor.shape, shape, strict=True)
    return Spec(tuple(text_of_tree(dim) if extent is None else int(extent) for dim, extent in pairs), tensor.dtype)


def _value(expr: tree.Expr, known: dict[str, Any]) -> float | None:
    """What an expression over sizes and scalars is, or None where one of them is not `known`."""
    try:
        return evaluate(text_of_tree(expr), known)
    except KeyError:
        return None

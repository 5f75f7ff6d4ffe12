"""Runs generated CUDA source in numba's simulator, in a process of its own: slow, and needs no GPU.

In: a `GeneratedCuda`, arrays, sizes and scalars.  Out: the arrays after all stages ran.
Invariant: only the child process (`python -m comprehension.jit.cuda_simulator`) runs with `NUMBA_ENABLE_CUDASIM=1`,
which numba reads once, when it is imported; the caller's own numba is not touched.
"""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from comprehension.codegen.cuda import CudaEntry, GeneratedCuda, Parameter
from comprehension.errors import ComprehensionError
from comprehension.jit.expression import evaluate
from comprehension.jit.protocol import Message, read_message, write_message

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int]
THREADS: Shape = (4, 2, 2)
BLOCKS: Shape = (3, 2, 2)
"""The largest block and grid that are simulated: a thread is a Python thread, and kernels are right for any shape."""


class SimulationError(Exception):
    """A simulated kernel raised; the text is the child's traceback."""


class CudaSimulator:
    """A simulator process; use it as a context.

    `run` answers with every array, changed or not.
    Raises SimulationError if a kernel raises, ComprehensionError if one reports a subscript out of range.
    """

    def __enter__(self) -> Self:
        environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
        command = [sys.executable, "-m", "comprehension.jit.cuda_simulator"]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait()

    def run(
        self,
        generated: GeneratedCuda,
        arrays: Mapping[str, Array],
        sizes: Mapping[str, int] | None = None,
        scalars: Mapping[str, Any] | None = None,
        *,
        threads: Shape = THREADS,
        blocks: Shape = BLOCKS,
    ) -> dict[str, Array]:
        """Runs all stages on copies of `arrays`, which has every tensor and workspace.

        A block has `threads`, the grid `blocks` at most, x first.
        """
        header: dict[str, Any] = {"entries": [asdict(entry) for entry in generated.entries]}
        header |= {"sizes": dict(sizes or {}), "threads": threads, "blocks": blocks}
        files = {f"array {name}": _packed(array) for name, array in arrays.items()}
        files |= {f"scalar {name}": _packed(np.asarray(value)) for name, value in (scalars or {}).items()}
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        write_message(stdin, Message(header, {**files, "text": generated.text.encode()}))
        answer = read_message(stdout)
        if answer is None:
            raise SimulationError("the simulator process ended")
        if answer.header["error"]:
            raise SimulationError(answer.header["error"])
        code, seen, extent = answer.header["report"]
        if code:
            raise ComprehensionError(generated.errors[code - 1].seen(seen, extent))
        return {name: _unpacked(data) for name, data in answer.files.items()}


def _packed(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _unpacked(data: bytes) -> Array:
    array: Array = np.load(io.BytesIO(data), allow_pickle=False)
    return array


# --- the child ----------------------------------------------------------------------------------------------


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    import traceback

    while (request := read_message(requests)) is not None:
        try:
            arrays, report = _simulate(request)
            files = {name: _packed(array) for name, array in arrays.items()}
            write_message(answers, Message({"error": None, "report": report}, files))
        except Exception:  # whatever the kernel did, the caller is told
            write_message(answers, Message({"error": traceback.format_exc()}))


def _simulate(request: Message) -> tuple[dict[str, Array], list[int]]:
    """The arrays after all kernels ran, and what a check reported."""
    arrays = {n.removeprefix("array "): _unpacked(d) for n, d in request.files.items() if n.startswith("array ")}
    scalars = {n.removeprefix("scalar "): _unpacked(d) for n, d in request.files.items() if n.startswith("scalar ")}
    known = {**request.header["sizes"], **{name: value[()] for name, value in scalars.items()}}
    flat = {name: np.ascontiguousarray(array).reshape(-1).copy() for name, array in arrays.items()}
    errors = np.zeros(3, np.int64)
    namespace: dict[str, Any] = {}
    exec(compile(request.files["text"].decode(), "<generated CUDA>", "exec"), namespace)
    for record in request.header["entries"]:
        entry = CudaEntry(**{**record, "parameters": tuple(Parameter(**p) for p in record["parameters"])})
        threads = _shape(entry.threads, known, request.header["threads"])
        blocks = _shape(entry.blocks, known, request.header["blocks"])
        _launch(namespace[entry.name], entry, threads, blocks, {**flat, "errors": errors}, known)
    return {name: flat[name].reshape(array.shape) for name, array in arrays.items()}, errors.tolist()


def _shape(texts: Sequence[str], known: Mapping[str, Any], largest: Sequence[int]) -> tuple[int, ...]:
    return tuple(min(_evaluated(text, known), most) for text, most in zip(texts, largest, strict=True))


def _launch(
    function: Any,
    entry: CudaEntry,
    threads: tuple[int, ...],
    blocks: tuple[int, ...],
    flat: Mapping[str, Array],
    known: Mapping[str, Any],
) -> None:
    from numba import cuda

    owners = {"block scratch": math.prod(blocks), "thread scratch": math.prod(blocks) * math.prod(threads)}
    arguments = [_argument(p, flat, known, owners) for p in entry.parameters]
    cuda.jit(function)[blocks, threads](*arguments)


def _argument(
    parameter: Parameter, flat: Mapping[str, Array], known: Mapping[str, Any], owners: Mapping[str, int]
) -> Any:
    match parameter.kind:
        case "buffer" | "errors":
            array = flat[parameter.name]
            return array.view(np.uint8) if array.dtype == np.bool_ else array
        case "thread scratch" | "block scratch":
            return np.empty(owners[parameter.kind] * _evaluated(parameter.elements, known), parameter.dtype)
        case "scalar" | "size":
            return np.dtype(parameter.dtype).type(known[parameter.name])


def _evaluated(text: str, known: Mapping[str, Any]) -> int:
    """An expression of a `CudaEntry`."""
    return int(evaluate(text, {name: int(value) for name, value in known.items()}))


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # integers wrap, floats overflow: that is their meaning
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # what numba prints must not get between the messages
    _serve(sys.stdin.buffer, answers)

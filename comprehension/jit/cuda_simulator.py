"""Runs generated CUDA source in numba's simulator, in a process of its own: slow, and needs no GPU.

In: a `GeneratedCuda`, arrays, sizes and scalars.  Out: the arrays after all stages ran.
Invariant: only the child process (`python -m comprehension.jit.cuda_simulator`) runs with `NUMBA_ENABLE_CUDASIM=1`,
which numba reads once, when it is imported; the caller's own numba is not touched.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from comprehension.codegen.cuda import CudaEntry, GeneratedCuda, Parameter
from comprehension.jit.expression import evaluate
from comprehension.jit.protocol import Message, read_message, write_message

Array = np.ndarray[Any, Any]
BLOCK = 16  # a simulated thread is a Python thread: small blocks are faster


class SimulationError(Exception):
    """A simulated kernel raised; the text is the child's traceback."""


class CudaSimulator:
    """A simulator process; use it as a context.

    `run` answers with every array, changed or not.  Raises SimulationError if a kernel raises.
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
    ) -> dict[str, Array]:
        """Runs all stages on copies of `arrays`, which has every tensor and workspace."""
        header = {"entries": [asdict(entry) for entry in generated.entries], "sizes": dict(sizes or {})}
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
            files = {name: _packed(array) for name, array in _simulate(request).items()}
            write_message(answers, Message({"error": None}, files))
        except Exception:  # whatever the kernel did, the caller is told
            write_message(answers, Message({"error": traceback.format_exc()}))


def _simulate(request: Message) -> dict[str, Array]:
    arrays = {n.removeprefix("array "): _unpacked(d) for n, d in request.files.items() if n.startswith("array ")}
    scalars = {n.removeprefix("scalar "): _unpacked(d) for n, d in request.files.items() if n.startswith("scalar ")}
    sizes: dict[str, int] = request.header["sizes"]
    flat = {name: np.ascontiguousarray(array).reshape(-1).copy() for name, array in arrays.items()}
    namespace: dict[str, Any] = {}
    exec(compile(request.files["text"].decode(), "<generated CUDA>", "exec"), namespace)
    for record in request.header["entries"]:
        entry = CudaEntry(**{**record, "parameters": tuple(Parameter(**p) for p in record["parameters"])})
        _launch(namespace[entry.name], entry, flat, sizes, scalars)
    return {name: flat[name].reshape(array.shape) for name, array in arrays.items()}


def _launch(
    function: Any, entry: CudaEntry, flat: Mapping[str, Array], sizes: Mapping[str, int], scalars: Mapping[str, Array]
) -> None:
    from numba import cuda

    known = {**sizes, **{name: value[()] for name, value in scalars.items()}}
    blocks = -(-_evaluated(entry.threads, known) // BLOCK)
    arguments = [_argument(p, flat, known, blocks * BLOCK) for p in entry.parameters]
    if blocks:
        cuda.jit(function)[blocks, BLOCK](*arguments)


def _argument(parameter: Parameter, flat: Mapping[str, Array], known: Mapping[str, Any], threads: int) -> Any:
    match parameter.kind:
        case "buffer":
            array = flat[parameter.name]
            return array.view(np.uint8) if array.dtype == np.bool_ else array
        case "scratch":
            return np.empty(threads * _evaluated(parameter.elements, known), parameter.dtype)
        case "scalar" | "size":
            return np.dtype(parameter.dtype).type(known[parameter.name])


def _evaluated(text: str, known: Mapping[str, Any]) -> int:
    """An expression of a `CudaEntry`."""
    return int(evaluate(text, {name: int(value) for name, value in known.items()}))


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # integers wrap, floats overflow: that is their meaning
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # what numba prints must not get between the messages
    _serve(sys.stdin.buffer, answers)

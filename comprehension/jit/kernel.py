"""Kernel: compiled code that can be called and explains itself.

In: a request, its artifact (named files), the names of the parameters in the caller's order.
Out: results, addresses for native plans, and every stage of the compilation as text.
Invariant: the machine code lives as long as the kernel; nothing shown is computed here: it is what the compiler
wrote when it made the kernel.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from comprehension.config import config
from comprehension.errors import ComprehensionError
from comprehension.explain import CERTIFICATE, MANIFEST, REPORT, Explanation, explanation_of, write_dump
from comprehension.jit import client
from comprehension.jit.cache import Artifact
from comprehension.jit.failure import note_fallback
from comprehension.jit.launch import Launcher
from comprehension.jit.load import load_object
from comprehension.jit.manifest import Manifest
from comprehension.jit.report import Report
from comprehension.jit.request import ComprehensionRequest, key_of
from comprehension.jit.runner import Runner
from comprehension.kernel.certificate import Certificate
from comprehension.layout import Layouts

OBJECT = "kernel.o"
SOURCE, SCHEDULE = "70-kernel.py", "40-schedule.txt"


class Kernel:
    """Compiled code for one combination of specs and settings; it keeps its machine code alive.

    `manifest` and `addresses` (of the stages, by symbol) are what native plans need to call it.
    """

    def __init__(
        self,
        request: ComprehensionRequest,
        artifact: Artifact,
        parameters: Sequence[str],
        placing: Callable[[ComprehensionError], ComprehensionError] | None = None,
    ) -> None:
        """`placing` gives an error of a call its place in the text."""
        self.request = request
        self._placing = placing
        self.name = request.name
        self.manifest = Manifest.from_json(artifact[MANIFEST].decode())
        self._artifact = artifact
        self._parameters = tuple(parameters)
        self.addresses: dict[str, int] = {}
        self._launcher: Launcher | None = None
        if self.manifest.target == "cpu":
            loaded = load_object(self.name, artifact[OBJECT], [stage.symbol for stage in self.manifest.stages])
            self.addresses = loaded.addresses
            self._launcher = Launcher(Runner(self.manifest, loaded, parameters), parameters, self._variant)
        for reason in self.report.fallbacks:
            note_fallback("schedule not proved", f"{self.name}: {reason}; a simpler schedule is used")
        if config.dump is not None:
            for section in self.explain().sections:
                write_dump(config.dump, self.name, key_of(request), section.file, section.text)

    def __call__(self, *inputs: Any, out: Any = None) -> Any:
        """Runs the kernel; arguments of other specs than it was made for are refused."""
        launcher = self._launcher or self.launcher
        try:
            return launcher(inputs, out)
        except ComprehensionError as error:
            raise (error if self._placing is None else self._placing(error)) from error.__cause__

    def _variant(self, layouts: Layouts) -> Runner:
        """The same kernel for arguments of other layouts."""
        request = replace(self.request, layouts=layouts)
        return Kernel(request, client.submit(request, urgent=True).result(), self._parameters).launcher.runner

    @property
    def launcher(self) -> Launcher:
        """What checks arguments and runs the stages.

        Raises ComprehensionError for a CUDA kernel: this version compiles and assembles them only.
        """
        if self._launcher is None:
            raise ComprehensionError(
                f"{self.name}: this kernel was compiled for CUDA; running it needs a GPU and is not part of this"
                ' version.  Use target="cpu", or its .source in numba\'s simulator'
            )
        return self._launcher

    @property
    def source(self) -> str:
        """The generated Python source: same input, same bytes."""
        return self._artifact[SOURCE].decode()

    @property
    def schedule(self) -> str:
        """The schedule tree and the steps that led to it, as text."""
        return self._artifact[SCHEDULE].decode()

    @property
    def certificate(self) -> Certificate:
        """What was proved of this kernel: true if every property holds."""
        return Certificate.from_json(self._artifact[CERTIFICATE].decode())

    @property
    def report(self) -> Report:
        """Operations, bytes, footprints, limit; seconds of each compilation stage."""
        return Report.from_json(self._artifact[REPORT].decode())

    def export(self, folder: str | Path) -> Path:
        """Writes the kernel into a folder, to be called from C or NumPy where this package is not installed.

        An object file, a C header and source, a NumPy loader, a README of the interface, and a shared library where
        a C compiler is at hand.  Returns the loader's path.

        Raises ComprehensionError for a kernel for CUDA or for strided arrays.
        """
        from comprehension.jit.export import export

        self.launcher  # noqa: B018 - says what is wrong with a kernel for CUDA
        machine = self.request.machine
        described = f"{machine.architecture}, {machine.cpu}, vectors of {machine.vector_bits} bits"
        return export(self.manifest, self._artifact[OBJECT], self._parameters, described, Path(folder))

    def explain(self) -> Explanation:
        """Every stage as text; shows as a page with pictures in notebooks, `.page()` gives it as a document."""
        return explanation_of(self.name, self._artifact, repr(self)[1:-1])

    def _repr_html_(self) -> str:
        return self.explain()._repr_html_()

    def __repr__(self) -> str:
        specs = ", ".join(f"{spec.dtype}{json.dumps(list(spec.shape))}" for spec in self.request.specs)
        count = f"{len(self.manifest.stages)} stage{'s' if len(self.manifest.stages) != 1 else ''}"
        return f"<kernel {self.name}({specs}) for {self.request.target}: {count}>"

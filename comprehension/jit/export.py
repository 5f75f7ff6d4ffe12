"""Export: a kernel taken away, to be called from C or NumPy where this package is not installed.

In: a kernel's manifest and object file.  Out: files of a folder: the object, a C header and the few lines of C behind
it, a loader for NumPy, a README of the interface; and a shared library where a C compiler is at hand.
Invariant: the exported function does what the kernel's call does, on one thread: it checks sizes and
preconditions, provides workspace, runs the stages in order and returns the number of the check that failed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comprehension.codegen.names import Scope
from comprehension.errors import ComprehensionError
from comprehension.jit.c_text import PRELUDE, c_text
from comprehension.jit.failure import log
from comprehension.jit.manifest import BufferSlot, Manifest
from comprehension.kernel.size_text import escaped, unescaped

ALIGNMENT = 64
_C_TYPES = {
    "bool": "uint8_t", "float16": "uint16_t", "float32": "float", "float64": "double",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
_C = (
    "alignas alignof auto bool case char const constexpr default do double enum extern false float goto inline int"
    " long nullptr register restrict short signed sizeof static static_assert struct switch thread_local true typedef"
    " typeof union unsigned void volatile main errno NULL malloc free np ctypes Path library code ERRORS"
)
_TAKEN = frozenset(_C.split())


@dataclass(slots=True)
class Exported:
    """The names of one export: `function` is what C and Python call."""

    manifest: Manifest
    inputs: tuple[BufferSlot, ...]  # in the order of the parameters
    machine: str
    scope: Scope = field(init=False)
    function: str = field(init=False)

    def __post_init__(self) -> None:
        self.scope = Scope(_TAKEN | {stage.symbol for stage in self.manifest.stages})
        self.function = self.scope.name(self.manifest.name, "function")
        for slot in (*self.inputs, *self.outputs):
            self.scope.name(slot.name, "value")
        for size in self.manifest.sizes:
            self.scope.name(size, "value")

    @property
    def outputs(self) -> tuple[BufferSlot, ...]:
        return tuple(slot for slot in self.manifest.slots if slot.kind == "output")

    def name(self, value: str) -> str:
        return self.scope.name(value, "value")

    @property
    def names(self) -> dict[str, str]:
        scalars = [slot.name for slot in self.inputs if slot.kind == "scalar"]
        return {name: self.name(name) for name in (*self.manifest.sizes, *scalars)}

    def shape(self, slot: BufferSlot) -> str:
        return " x ".join(c_text(extent, self.names) for extent in slot.shape) or "one element"

    @property
    def prototype(self) -> str:
        parts = [f"int64_t {self.name(size)}" for size in self.manifest.sizes]
        for slot in self.inputs:
            kind = _C_TYPES[slot.dtype]
            parts.append(
                f"{kind} {self.name(slot.name)}" if slot.kind == "scalar" else f"const {kind} *{self.name(slot.name)}"
            )
        parts += [f"{_C_TYPES[slot.dtype]} *{self.name(slot.name)}" for slot in self.outputs]
        return f"int64_t {self.function}({', '.join(parts) or 'void'})"

    @property
    def errors(self) -> tuple[str, ...]:
        """What each positive result says."""
        return (*map(str, self.manifest.errors), *(message for _, message in self.manifest.preconditions))


def export(manifest: Manifest, data: bytes, parameters: Sequence[str], machine: str, folder: Path) -> Path:
    """Writes the files into `folder`, made if needed; the loader's path.

    Raises ComprehensionError for a kernel of strided arguments, whose interface would need their strides, and
    OSError where the folder cannot be written.
    """
    if any(slot.layout is not None for slot in manifest.slots):
        raise ComprehensionError(
            f"{manifest.name}: this kernel was compiled for strided arrays; export one for Specs or dense arrays"
        )
    slots = {slot.name: slot for slot in manifest.slots}
    exported = Exported(manifest, tuple(slots[name] for name in parameters), machine)
    name = exported.function
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.o").write_bytes(data)
    (folder / f"{name}.h").write_text(header_text(exported))
    (folder / f"{name}.c").write_text(driver_text(exported))
    (folder / f"{name}.py").write_text(loader_text(exported))
    (folder / "README.md").write_text(readme_text(exported))
    _link(folder, name)
    return folder / f"{name}.py"


def _link(folder: Path, name: str) -> None:
    """The shared library, if a C compiler is there to link it; the README says how otherwise."""
    compiler = shutil.which("cc")
    if compiler is None:
        log.info("export: no C compiler here; %s says how to link lib%s.so", folder / "README.md", name)
        return
    done = subprocess.run(
        [compiler, *_link_arguments(name)], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        log.warning("export: lib%s.so was not linked: %s", name, done.stderr.strip()[-500:])


def _link_arguments(name: str) -> list[str]:
    return ["-O2", "-fPIC", "-shared", "-o", f"lib{name}.so", f"{name}.c", f"{name}.o", "-lm"]


# --- C --------------------------------------------------------------------------------------------------------


def header_text(e: Exported) -> str:
    """The function that most callers want, and the stages behind it."""
    stages = "".join(
        f"int64_t {stage.symbol}(void **buffers, const int64_t *dims, void *scratch, int64_t lo, int64_t hi);\n"
        for stage in e.manifest.stages
    )
    errors = "".join(f" *   {number}: {_comment(text)}\n" for number, text in enumerate(e.errors, 1))
    failures = f"; or what is wrong:\n{errors}" if errors else ".\n"
    guard = f"COMPREHENSION_{e.function.upper()}_H"
    return (
        f"/* {e.function}, compiled for {_comment(e.machine)}.  See README.md. */\n"
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
        '#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        f"/* Dense row-major arrays that do not overlap:\n{''.join(_array_lines(e))}"
        f" * Returns 0; -1 where there is no memory for temporaries{failures} */\n{e.prototype};\n\n"
        f"/* The stages: run them in order, each for all of its range, on one thread or several. */\n{stages}\n"
        "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
    )


def _array_lines(e: Exported) -> Iterator[str]:
    for slot in (*e.inputs, *e.outputs):
        if slot.kind == "scalar":
            continue
        notes = " (adds to what it holds)" if slot.accumulates else " (partly written)" if slot.reads_initial else ""
        yield f" *   {e.name(slot.name)}: {slot.kind}, {slot.dtype}, {e.shape(slot)}{notes}\n"


def driver_text(e: Exported) -> str:
    """The function: checks, memory, stages."""
    names = e.names
    preconditions = "".join(
        f"    if (!{c_text(condition, names)}) return {len(e.manifest.errors) + number};\n"
        for number, (condition, _) in enumerate(e.manifest.preconditions, 1)
    )
    workspaces = [slot for slot in e.manifest.slots if slot.kind == "workspace"]
    sizes = [f"{_bytes(slot, e)} + {ALIGNMENT}" for slot in workspaces]
    total = " + ".join([*sizes, f"{c_text(e.manifest.scratch_bytes, names)} + {ALIGNMENT}"])
    places = "".join(f"    void *{e.name(slot.name)} = tc_take(&tc_at, {_bytes(slot, e)});\n" for slot in workspaces)
    buffers = ", ".join(_pointer(slot, e) for slot in e.manifest.slots)
    stages = "".join(
        f"    if (tc_code == 0 && {c_text(stage.extent, names)} > 0)\n"
        f"        tc_code = {stage.symbol}(tc_buffers, tc_dims, tc_scratch, 0, {c_text(stage.extent, names)});\n"
        for stage in e.manifest.stages
    )
    return (
        f"/* {e.function}: checks, memory for temporaries, stages.  Generated; compile it with {e.function}.o. */\n"
        f'#include "{e.function}.h"\n\n#include <stdlib.h>\n\n{PRELUDE}'
        "static inline void *tc_take(char **at, int64_t bytes) {\n"
        f"    char *start = (char *)(((uintptr_t)*at + {ALIGNMENT - 1}) / {ALIGNMENT} * {ALIGNMENT});\n"
        "    *at = start + tc_max(bytes, 0);\n    return start;\n}\n\n"
        f"{e.prototype} {{\n{preconditions}"
        f"    char *tc_block = (char *)malloc((size_t)({total}));\n"
        "    if (tc_block == NULL) return -1;\n"
        f"    char *tc_at = tc_block;\n{places}"
        f"    void *tc_scratch = tc_take(&tc_at, {c_text(e.manifest.scratch_bytes, names)});\n"
        "    int64_t tc_record[8] = {0};\n"
        f"    void *tc_buffers[] = {{{buffers}{', ' if buffers else ''}tc_record}};\n"
        f"    const int64_t tc_dims[] = {{{''.join(f'{names[size]}, ' for size in e.manifest.sizes)}0}};\n"
        "    int64_t tc_code = 0;\n"
        f"{stages}    free(tc_block);\n    return tc_code & 0xFFFFFFFF;\n}}\n"
    )


def _bytes(slot: BufferSlot, e: Exported) -> str:
    kind = _C_TYPES[slot.dtype]
    return " * ".join([*(f"tc_max({c_text(n, e.names)}, 0)" for n in slot.shape), f"(int64_t)sizeof({kind})"])


def _pointer(slot: BufferSlot, e: Exported) -> str:
    return f"(void *)&{e.name(slot.name)}" if slot.kind == "scalar" else f"(void *){e.name(slot.name)}"


def _comment(text: str) -> str:
    return " ".join(text.split()).replace("*/", "* /")


# --- NumPy --------------------------------------------------------------------------------------------------------


def loader_text(e: Exported) -> str:
    """The function for NumPy arrays."""
    arrays = [slot for slot in e.inputs if slot.kind != "scalar"]
    parameters = [e.name(slot.name) for slot in e.inputs]
    outs = [e.name(slot.name) for slot in e.outputs]
    accumulated = [e.name(slot.name) for slot in e.outputs if slot.accumulates]
    types = ["ctypes.c_int64"] * len(e.manifest.sizes) + [_argument_type(slot) for slot in (*e.inputs, *e.outputs)]
    lines = [
        f'"""{e.function} for NumPy arrays (dense, of the types that the kernel was compiled for)."""',
        "",
        "import ctypes",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "",
        f'library = ctypes.CDLL(str(Path(__file__).with_name("lib{e.function}.so")))',
        f"library.{e.function}.restype = ctypes.c_int64",
        f"library.{e.function}.argtypes = [{', '.join(types)}]",
        f"ERRORS = {[_comment(text) for text in e.errors]!r}",
        "",
        "",
        f"def {e.function}({', '.join([*parameters, *accumulated])}):",
    ]
    lines += [f"    {line}" for line in _size_lines(e, arrays)]
    for slot in e.outputs:
        if not slot.accumulates:
            make = "zeros" if slot.reads_initial else "empty"
            shape = _python_shape(slot, e)
            lines.append(f'    {e.name(slot.name)} = np.{make}({shape}, "{slot.dtype}")')
    sizes = [e.name(size) for size in e.manifest.sizes]
    values = [_python_value(slot, e) for slot in e.inputs]
    lines += [
        f"    code = library.{e.function}({', '.join([*sizes, *values, *outs])})",
        "    if code:",
        '        raise ValueError(ERRORS[code - 1] if code > 0 else "no memory for temporaries")',
        f"    return {', '.join(outs)}",
    ]
    return "\n".join(lines) + "\n"


def _python_value(slot: BufferSlot, e: Exported) -> str:
    name = e.name(slot.name)
    return f"int(np.float16({name}).view(np.uint16))" if (slot.kind, slot.dtype) == ("scalar", "float16") else name


def _argument_type(slot: BufferSlot) -> str:
    if slot.kind != "scalar":
        writable = ", WRITEABLE" if slot.kind == "output" else ""
        return f'np.ctypeslib.ndpointer("{slot.dtype}", {len(slot.shape)}, flags="C_CONTIGUOUS, ALIGNED{writable}")'
    if slot.dtype == "float16":
        return "ctypes.c_uint16"
    return {"bool": "ctypes.c_uint8", "float32": "ctypes.c_float", "float64": "ctypes.c_double"}.get(
        slot.dtype, f"ctypes.c_{slot.dtype}"
    )


def _size_lines(e: Exported, arrays: Sequence[BufferSlot]) -> Iterator[str]:
    """Sizes from shapes, and the check that every array has the shape that the kernel reads."""
    known: set[str] = set()
    for slot in arrays:
        for axis, extent in enumerate(slot.shape):
            for size in e.manifest.sizes:
                if extent == escaped(size) and size not in known:
                    known.add(size)
                    yield f"{e.name(size)} = {e.name(slot.name)}.shape[{axis}]"
    wanted = [(e.name(slot.name), _python_shape(slot, e)) for slot in arrays]
    wanted += [(e.name(slot.name), _python_shape(slot, e)) for slot in e.outputs if slot.accumulates]
    if wanted:
        found, shapes = (", ".join(part) for part in zip(*((f"{n}.shape", s) for n, s in wanted), strict=True))
        yield f"if ({found},) != ({shapes},):"
        yield f'    raise ValueError(f"expected shapes {{({shapes},)}}, found {{({found},)}}")'


def _python_shape(slot: BufferSlot, e: Exported) -> str:
    texts = [str(extent) if isinstance(extent, int) else _renamed(extent, e.names) for extent in slot.shape]
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def _renamed(text: str, names: dict[str, str]) -> str:
    """The text of a size with the names that it has here."""
    return re.sub(r"[A-Za-z_]\w*", lambda found: names.get(unescaped(found[0]), found[0]), text)


# --- the README -----------------------------------------------------------------------------------------------------


def readme_text(e: Exported) -> str:
    """The interface, for people."""
    name = e.function
    return f"""\
# {name}

A kernel for `{_comment(e.machine)}`: its code uses that processor's vector instructions and runs on no lesser one.

| file | what it is |
|---|---|
| `{name}.o` | the kernel: position-independent code that calls the C mathematics library and nothing else |
| `{name}.h`, `{name}.c` | `{name}(...)`, one call for everything, and the C behind it |
| `{name}.py` | the same for NumPy, by ctypes; needs `lib{name}.so` beside it |

Link the library, or compile `{name}.c` and `{name}.o` into your program:

    cc {" ".join(_link_arguments(name))}

## The function

    {e.prototype};

Arrays are dense, row-major, aligned to their elements and do not overlap; sizes come first, then the inputs in the
order of the text's parameters (scalars by value), then the outputs. float16 is its 16 bits, bool is one byte, 0 or 1.
The result is 0, -1 where there was no memory for temporaries, or the number of a message in `{name}.h`. Any number of
threads may call it.

## The stages

Underneath, each stage is

    int64_t stage(void **buffers, const int64_t *dims, void *scratch, int64_t lo, int64_t hi);

- `buffers`: pointers to {", ".join(f"`{slot.name}`" for slot in e.manifest.slots) or "nothing"} in this order
  (a scalar: to its one element; a workspace: memory that lasts from stage to stage), then to 8 int64 for the record of
  an error;
- `dims`: {", ".join(f"`{size}`" for size in e.manifest.sizes) or "nothing"};
- `scratch`: memory aligned to {ALIGNMENT} bytes, one for each thread;
- `lo`, `hi`: the part of the stage's range to run; parts may run on different threads in any order, stages may not.

`{name}.c` says how large each of them is, and calls them one after the other.
"""

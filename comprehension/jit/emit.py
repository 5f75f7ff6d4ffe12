"""Source to object file, inside the compiler process (imports numba).

In: the text of a kernel's module, or of one with loops of our own.
Out: one object file with one exported symbol per entry; everything else in it is internal.
Invariant: the object knows no Python: no objects, no exceptions, no NRT; `objects.undefined_symbols` says
what it needs from outside, and the loader refuses what is not on its list.

Kernels are lowered by `codegen.lowering`, our own loops by `codegen.runtime`.  `emit_by_numba` compiles the same texts
(and more) in numba's general way: tests compare kernels with what it makes, and write stages by hand for it.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import cfunc
from numba.core import types

from comprehension.codegen.lowering import Unknown, lower_module
from comprehension.codegen.runtime import lower_loops
from comprehension.codegen.target import generating_for
from comprehension.machine import Machine

RAISES = "comprehension_raises_in_native_code"  # defined nowhere, on no list of allowed symbols
STAGE_SIGNATURE = "int64(CPointer(voidptr), CPointer(int64), voidptr, int64, int64)"


def emit_by_numba(name: str, text: str, entries: Mapping[str, str], machine: Machine) -> bytes:
    """The object file of the functions `entries` (name -> numba signature text) of the module `text`.

    `cfunc` and its `inspect_llvm` are numba's public way to optimised LLVM text; the text is parsed again, its entry
    renamed and everything else made internal, so that what only a Python caller would need is dropped.

    Numba's own exceptions (typing, lowering) pass through.
    """
    _initialise()
    module = load_module(name, text)
    linked = llvm.parse_assembly("")  # a kernel of empty sizes has no stage at all
    with generating_for(machine):
        for entry, signature in entries.items():
            linked.link_in(_llvm_module(module[entry], entry, signature))
    _internalise(linked, frozenset(entries))
    return bytes(_target_machine(machine).emit_object(linked))


def emit_kernel(name: str, text: str, machine: Machine) -> bytes:
    """The object file of a kernel: of all stages of a module that `codegen.cpu` has printed.

    Does what `emit_by_numba` does, in a third of the time: numba is not asked, and LLVM optimises once.
    """
    _initialise()
    with generating_for(machine):
        return _object_of(lower_module(name, text), machine)


def emit_loops(name: str, text: str, entries: Mapping[str, int], machine: Machine) -> bytes:
    """The object file of loops of our own: `entries` maps functions to how many words they take."""
    _initialise()
    module = lower_loops(name, text, load_module(name, text), entries)
    for entry, count in entries.items():
        found = module.globals.get(entry)
        if found is None or len(found.args) != count:
            raise Unknown(f"{name} has no function {entry} of {count} words")
    return _object_of(module, machine)


def _object_of(lowered: ir.Module, machine: Machine) -> bytes:
    """Optimised once, for the machine."""
    module, target = llvm.parse_assembly(str(lowered)), _target_machine(machine)
    module.triple, module.data_layout = target.triple, str(target.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(target.emit_object(module))


def load_module(name: str, text: str) -> dict[str, Any]:
    """Runs a generated module and returns its names; tracebacks and numba's messages show its lines."""
    filename = f"<{name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    module = ModuleType(f"comprehension_generated_{name}")
    exec(compile(text, filename, "exec"), module.__dict__)  # our own generated text, never a user's
    return module.__dict__


def _llvm_module(function: Any, entry: str, signature: str) -> Any:
    """The function's optimised LLVM module with one more function: `entry`, in the plain C convention."""
    plain: FunctionType = getattr(function, "py_func", function)
    compiled = cfunc(_parsed(signature), error_model="numpy")(plain)
    module = llvm.parse_assembly(compiled.inspect_llvm())
    wrapper = compiled.native_name
    module.link_in(llvm.parse_assembly(_c_entry(module, entry, wrapper, wrapper.removeprefix("cfunc."))))
    return module


def _c_entry(module: Any, entry: str, wrapper: str, native: str) -> str:
    """LLVM text of a C entry that calls numba's `native` function: (result*, exception*, arguments...) -> status.

    Numba's own C wrapper is not used: it prints a raised exception with Python's functions, so each object
    would need them.  Generated code raises nothing: where the optimiser cannot see that the status is 0, the
    call of a function that exists nowhere remains, and the loader refuses the object.
    """
    result, *arguments = (str(t) for t in module.get_function(wrapper).global_value_type.elements)
    named = [f"{kind} %a{i}" for i, kind in enumerate(arguments)]
    return f"""
    declare i32 @{native}({", ".join(["ptr", "ptr", *arguments])})
    define {result} @{entry}({", ".join(named)}) {{
      %result = alloca {result}
      %raised = alloca ptr
      %status = call i32 @{native}({", ".join(["ptr %result", "ptr %raised", *named])})
      %failed = icmp ne i32 %status, 0
      br i1 %failed, label %raises, label %returns
    raises:
      call void @{RAISES}()
      br label %returns
    returns:
      %value = load {result}, ptr %result
      ret {result} %value
    }}
    declare void @{RAISES}()
    """


def _parsed(signature: str) -> Any:
    """Signature text, with `voidptr` and `CPointer` among its names."""
    names = {name: getattr(types, name) for name in ("CPointer", "voidptr", "int64", "int32", "float64", "float32")}
    return eval(signature, {"__builtins__": {}}, names)


def _internalise(module: Any, exported: frozenset[str]) -> None:
    """Only the entries stay visible; what they do not need (environments, Python wrappers) is dropped."""
    for value in [*module.functions, *module.global_variables]:
        if value.name in exported or value.name.startswith("llvm."):
            continue
        if not value.is_declaration:
            value.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(_host_target_machine(), options)
    passes = llvm.create_new_module_pass_manager()
    passes.add_ipsccp_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)


@functools.cache
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # for inline assembly (the pause of a spinning worker)


@functools.lru_cache(maxsize=4)
def _target_machine(machine: Machine) -> Any:
    """Code for `machine`; position independent, because the loader may put it anywhere."""
    _initialise()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=3, reloc="pic", codemodel="jitdefault"
    )


@functools.cache
def _host_target_machine() -> Any:
    _initialise()
    return llvm.Target.from_default_triple().create_target_machine()

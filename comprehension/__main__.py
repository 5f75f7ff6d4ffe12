"""The command line: `python -m comprehension show | check | bench | cache`.

In: files of comprehensions, sizes.  Out: the stages of a compilation as text; timings; the cache's state.
Invariant: exit status 0 for success, 1 for a text or a call that is refused (said on stderr), 2 for misuse.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import IO, Any

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.syntax import Syntax

from comprehension.api import Comprehension, Module, define
from comprehension.errors import ComprehensionError
from comprehension.explain import Section
from comprehension.jit.arguments import is_scalar
from comprehension.jit.cache import Cache, default_root
from comprehension.lang.types import Spec

_LEXERS = {"py": "python", "tc": "c", "txt": "text"}


class _Sizes(click.ParamType[dict[str, int]]):
    """`N=32,M=64`."""

    name = "sizes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for part in str(value).split(","):
            size, equals, number = part.partition("=")
            if not (equals and number.strip().isdigit() and size.strip()):
                self.fail(f"{part!r} is not NAME=NUMBER", param, ctx)
            sizes[size.strip()] = int(number)
        return sizes


_FILE = click.argument("file", type=click.File("r"))
_SIZES = click.option("--sizes", type=_Sizes(), default=None, help="N=32,M=64; sizes not named stay symbolic")
_NAME = click.option("--def", "name", default=None, help="which def (default: the last one)")
_TARGET = click.option("--target", type=click.Choice(["cpu", "cuda"]), default="cpu")
_OPTIONS = click.option("--options", default=None, help="a preset of MappingOptions")
_MATH = click.option("--math", type=click.Choice(["fast", "strict"]), default="fast")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tensor comprehensions: look at them, check them, time them."""


@main.command()
@_FILE
@_NAME
@_SIZES
@_TARGET
@_OPTIONS
@_MATH
@click.option("--stage", default=None, help="only this one: source, loops, scop, schedule, kernel-ir, ...")
def show(
    file: IO[str], name: str | None, sizes: dict[str, int] | None, target: str, options: str | None, math: str,
    stage: str | None,
) -> None:  # fmt: skip
    """Compiles a def of FILE and shows every stage of it."""
    with _refusals():
        chosen = _chosen(_module(file), name)
        kernel = chosen.compile(*_specs(chosen, sizes or {}), target=target, options=options, math=math)  # type: ignore[arg-type]
        explanation = kernel.explain()
        console = Console()
        for section in explanation.sections:
            if stage is None or stage in section.file:
                _print(console, section)
        if stage is None:
            console.print(str(kernel.report), markup=False)


@main.command()
@_FILE
def check(file: IO[str]) -> None:
    """Parses and checks FILE; prints what is wrong, or its defs."""
    with _refusals():
        for comprehension in _module(file):
            click.echo(f"{comprehension.name}: {len(comprehension.definition.statements)} statements")


@main.command()
@_FILE
@_NAME
@click.option("--sizes", type=_Sizes(), required=True, help="N=32,M=64: every size of the def")
@_OPTIONS
@_MATH
@click.option("--seconds", default=1.0, help="for how long to repeat the call")
def bench(
    file: IO[str], name: str | None, sizes: dict[str, int], options: str | None, math: str, seconds: float
) -> None:
    """Times a def of FILE on random inputs."""
    with _refusals():
        chosen = _chosen(_module(file), name)
        specs = _specs(chosen, sizes)
        kernel = chosen.compile(*specs, options=options, math=math)  # type: ignore[arg-type]
        inputs = [_sample(spec) for spec in specs]
        found = kernel(*inputs)
        times: list[float] = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            started = time.perf_counter()
            kernel(*inputs, out=found)
            times.append(time.perf_counter() - started)
        best, median = min(times), float(np.median(times))
        report = kernel.report
        click.echo(f"{chosen.name}: best {1e6 * best:.1f} µs, median {1e6 * median:.1f} µs of {len(times)} calls")
        click.echo(f"{report.flops / best / 1e9:.2f} GFLOP/s, {report.bytes / best / 1e9:.2f} GB/s at least")


@main.group()
def cache() -> None:
    """The disk cache of compiled kernels."""


@cache.command()
def info() -> None:
    """Where it is and what it holds."""
    with _refusals():
        found = Cache(default_root()).info()
        click.echo(f"folder    {found.folder}\nentries   {found.entries}\nsize      {found.bytes / 1e6:.1f} MB")


@cache.command()
def clear() -> None:
    """Removes every entry."""
    with _refusals():
        click.echo(f"removed {Cache(default_root()).clear()} entries")


class _refusals:
    """A ComprehensionError inside becomes a message on stderr and exit status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ComprehensionError):
            click.echo(str(error), err=True)
            sys.exit(1)


def _module(file: IO[str]) -> Module:
    try:
        return define(file.read())
    except UnicodeDecodeError as reason:
        raise ComprehensionError(f"{Path(file.name).name} is not a text: {reason}") from reason


def _chosen(module: Module, name: str | None) -> Comprehension:
    return module[name if name is not None else module.defs[-1]]


def _specs(comprehension: Comprehension, sizes: dict[str, int]) -> tuple[Spec, ...]:
    """A spec for each parameter; sizes without a number keep their names."""
    unknown = sorted(set(sizes) - set(comprehension.definition.sizes))
    if unknown:
        known = ", ".join(comprehension.definition.sizes)
        raise ComprehensionError(f"{comprehension.name} has no size {', '.join(unknown)}; its sizes are {known}")
    specs: list[Spec] = []
    for param in comprehension.definition.parameters:
        assert param.type is not None  # `check` refuses an input without a type
        dims = () if is_scalar(param) else param.type.dims
        specs.append(Spec(tuple(sizes.get(d, d) if isinstance(d, str) else d for d in dims), param.type.scalar))
    return tuple(specs)


def _sample(spec: Spec) -> npt.NDArray[Any]:
    """Random contents: [0, 1) for floats, small numbers otherwise."""
    shape = tuple(int(dim) for dim in spec.shape)
    generator = np.random.default_rng(0)
    if spec.dtype.is_float:
        return generator.random(shape).astype(spec.dtype.numpy)
    return generator.integers(0, 2, shape).astype(spec.dtype.numpy)


def _print(console: Console, section: Section) -> None:
    console.rule(f"{section.title}  [{section.file}]")
    if console.is_terminal:
        console.print(Syntax(section.text, _LEXERS[section.file.rpartition(".")[2]], background_color="default"))
    else:
        click.echo(section.text)


if __name__ == "__main__":
    main()

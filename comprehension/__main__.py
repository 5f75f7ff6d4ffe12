"""The command line: `python -m comprehension show | check | bench | cache`.

In: files of comprehensions, sizes.  Out: the stages of a compilation as text or as a page; timings; the cache's state.
Invariant: exit status 0 for success, 1 for a text or a call that is refused (said on stderr), 2 for misuse.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console

from comprehension.api import Module, define
from comprehension.bench.measure import measure
from comprehension.comprehension import Comprehension
from comprehension.config import MAX_THREADS, config
from comprehension.errors import ComprehensionError, ComprehensionWarning
from comprehension.explain import Explanation
from comprehension.jit.arguments import is_scalar
from comprehension.jit.cache import Cache, default_root
from comprehension.jit.kernel import Kernel
from comprehension.jit.request import Math
from comprehension.lang.printer import to_text
from comprehension.lang.types import Spec
from comprehension.options import PRESETS
from comprehension.terminal import print_error, print_section, print_text, print_warning


class _Sizes(click.ParamType[dict[str, int]]):
    """`N=32,M=64`."""

    name = "NAME=NUMBER,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for part in str(value).split(","):
            size, equals, number = part.partition("=")
            if not (equals and number.strip().isdigit() and size.strip()):
                self.fail(f"{part!r} is not NAME=NUMBER", param, ctx)
            if size.strip() in sizes:
                self.fail(f"{size.strip()} is given twice", param, ctx)
            sizes[size.strip()] = int(number)
        return sizes


_FILE = click.argument("file", type=click.File("r"))
_NAME = click.option("--def", "name", metavar="NAME", default=None, help="Which def of FILE (default: the last one).")
_SIZES = click.option("--sizes", type=_Sizes(), default=None, help="Sizes to compile for; others stay symbolic.")
_TARGET = click.option("--target", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
_OPTIONS = click.option("--options", metavar="PRESET", default=None, help=f"How to map: {', '.join(PRESETS)}.")
_MATH = click.option("--math", type=click.Choice(["fast", "strict"]), default="fast", show_default=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="minitensor", prog_name="comprehension")
def main() -> None:
    """Tensor comprehensions: look at them, check them, time them.

    FILE is a text of comprehensions, `-` is standard input.  A first walk:

    \b
      $ cat product.tc
      def product(float(M, K) A, float(K, N) B) -> (C) {
          C(m, n) +=! A(m, k) * B(k, n)
      }
      $ comprehension check product.tc                           is it well formed?
      $ comprehension show product.tc --sizes M=64,K=64,N=64     every stage of its compilation
      $ comprehension show product.tc --stage schedule           one stage, for all sizes
      $ comprehension bench product.tc --sizes M=512,K=512,N=512 beside NumPy and the machine's limit

    `python -m comprehension` is the same program.
    """


@main.command()
@_FILE
@_NAME
@_SIZES
@_TARGET
@_OPTIONS
@_MATH
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="STAGE",
    help="Only this one (may be given several times); a name that there is not lists them all.",
)
@click.option("--html", type=click.Path(dir_okay=False, writable=True, path_type=Path), default=None,
              help="Write a page with pictures instead.")  # fmt: skip
def show(
    file: IO[str], name: str | None, sizes: dict[str, int] | None, target: str, options: str | None, math: str,
    stages: tuple[str, ...], html: Path | None,
) -> None:  # fmt: skip
    """Compile a def of FILE and show every stage of it.

    Sizes that --sizes does not name stay symbolic: the kernel is made, and proved, for all of them at once.
    With one --stage and no terminal the bare text is printed, fit for a file:

    \b
      comprehension show product.tc --sizes M=64,K=64,N=64 --stage kernel > kernel.py
    """
    with _refusals(file):
        kernel = _compiled(file, name, sizes, target, options, math)
        explanation = kernel.explain()
        if html is not None:
            html.write_text(explanation.page(), encoding="utf-8")
            click.echo(f"written: {html}")
            return
        _print(explanation, stages)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.File("r"))
def check(files: tuple[IO[str], ...]) -> None:
    """Parse and check FILES; print what is wrong, with its place, or what is defined.

    For each def: its signature, and for each statement the range of each index with the access that gave it.
    Exit status 1 if any file is refused; all of them are looked at.
    """
    refused = False
    for file in files:
        try:
            with _refusals(file):
                for comprehension in _module(file):
                    click.echo(_described(comprehension))
        except SystemExit:
            refused = True
    sys.exit(int(refused))


@main.command()
@_FILE
@_NAME
@click.option("--sizes", type=_Sizes(), default=None, help="Every size of the def, as in N=32,M=64.")
@_OPTIONS
@_MATH
@click.option("--seconds", default=1.0, show_default=True, help="For how long to repeat the calls.")
@click.option("--threads", type=click.IntRange(1, MAX_THREADS), default=None, help="Default: all cores.")
@click.option(
    "--schedule", "schedules", type=click.File("r"), multiple=True,
    help="A schedule of yours, one step a line, to time beside; may be given several times.",
)  # fmt: skip
def bench(
    file: IO[str], name: str | None, sizes: dict[str, int] | None, options: str | None, math: Math, seconds: float,
    threads: int | None, schedules: tuple[IO[str], ...],
) -> None:  # fmt: skip
    """Time a def of FILE on random inputs, beside the machine's limit and NumPy.

    The limit is measured at the same time: multiply-adds at the processor's peak, or bytes at the speed of a copy
    that is as large, whichever takes longer.  NumPy stands beside where it has a direct way: slices, windows,
    broadcasting, einsum.
    """
    with _refusals(file):
        chosen = _chosen(_module(file), name)
        missing = [size for size in chosen.interface.sizes if size not in (sizes or {})]
        if missing:
            example = ",".join(f"{size}={(sizes or {}).get(size, 256)}" for size in chosen.interface.sizes)
            raise click.UsageError(f"{chosen.name} has sizes without a number: give all, as in --sizes {example}")
        if threads is not None:
            config.threads = threads
        specs = _specs(chosen, sizes or {})
        own = {Path(each.name).stem: chosen.schedule(*specs, math=math).replay(each.read()) for each in schedules}
        click.echo(str(measure(chosen, specs, options, math, seconds, beside=own)))


@main.group()
def cache() -> None:
    """The disk cache of compiled kernels (COMPREHENSION_CACHE says where, COMPREHENSION_CACHE_MB how large)."""


@cache.command()
def info() -> None:
    """Where it is and what it holds."""
    with _refusals():
        found = Cache(default_root()).info()
        click.echo(f"folder    {found.folder}\nentries   {found.entries}\nsize      {found.bytes / 1e6:.1f} MB")
        click.echo(f"limit     {config.cache_bytes / 1e6:.0f} MB")


@cache.command()
def clear() -> None:
    """Remove every entry."""
    with _refusals():
        removed = Cache(default_root()).clear()
        click.echo(f"removed {removed} {'entry' if removed == 1 else 'entries'}")


@contextmanager
def _refusals(file: IO[str] | None = None) -> Iterator[None]:
    """A ComprehensionError inside becomes a message on stderr and exit status 1; warnings are printed likewise."""
    console, name = Console(stderr=True), "<stdin>" if file is None or file.name == "<stdin>" else file.name
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ComprehensionWarning)
        try:
            yield
        except ComprehensionError as error:
            print_error(console, error, name)
            sys.exit(1)
        finally:
            for each in caught:
                if isinstance(each.message, ComprehensionWarning):
                    print_warning(console, str(each.message), name)


def _module(file: IO[str]) -> Module:
    try:
        return define(file.read())
    except UnicodeDecodeError as reason:
        raise ComprehensionError(f"{Path(file.name).name} is not a text: {reason}") from reason


def _chosen(module: Module, name: str | None) -> Comprehension:
    return module[name if name is not None else module.defs[-1]]


def _compiled(
    file: IO[str], name: str | None, sizes: dict[str, int] | None, target: str, options: str | None, math: str
) -> Kernel:
    chosen = _chosen(_module(file), name)
    return chosen.compile(*_specs(chosen, sizes or {}), target=target, options=options, math=math)  # type: ignore[arg-type]


def _specs(comprehension: Comprehension, sizes: dict[str, int]) -> tuple[Spec, ...]:
    """A spec for each parameter; sizes without a number keep their names."""
    unknown = sorted(set(sizes) - set(comprehension.interface.sizes))
    if unknown:
        known = ", ".join(comprehension.interface.sizes) or "none"
        raise ComprehensionError(f"{comprehension.name} has no size {', '.join(unknown)}; its sizes are {known}")
    specs: list[Spec] = []
    for param in comprehension.interface.parameters:
        assert param.type is not None  # `check` refuses an input without a type
        dims = () if is_scalar(param) else param.type.dims
        specs.append(Spec(tuple(sizes.get(d, d) if isinstance(d, str) else d for d in dims), param.type.scalar))
    return tuple(specs)


def _described(comprehension: Comprehension) -> str:
    """The signature of a def, its statements, and the range of each index."""
    statements: dict[str, list[Any]] = {}
    for each in comprehension.ranges(*_specs(comprehension, {})):
        statements.setdefault(each.statement, []).append(each)
    lines = [comprehension.signature]
    for statement, checked in enumerate(comprehension.definition.statements):
        lines.append(f"  S{statement}  {to_text(checked.node)}")
        for index in statements.get(f"S{statement}", ()):
            because = f"    from {index.because}" if index.because else ""
            lines.append(f"        {index.index} in {index.lower}:{index.upper}{because}")
    return "\n".join(lines)


def _print(explanation: Explanation, stages: tuple[str, ...]) -> None:
    """All sections under their titles, or those asked for."""
    console = Console(highlight=False)
    if not stages:
        for section in explanation.sections:
            print_section(console, section)
        return
    try:
        chosen = [explanation.section(stage) for stage in stages]
    except KeyError as unknown:
        raise click.UsageError(unknown.args[0]) from None
    for section in chosen:
        if len(chosen) == 1 and not console.is_terminal:
            print_text(console, section.text, section.file)
        else:
            print_section(console, section)


if __name__ == "__main__":
    main()

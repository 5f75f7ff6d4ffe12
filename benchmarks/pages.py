"""Writes the figures of `benchmarks/results` into the pages that show them: `python -m benchmarks.pages`.

In: the JSON files; README.md, docs/performance*.md and docs/testing-mutation.md, which have places for figures:

    <!-- figures: NAME -->
    ... made by the function of that name in `FIGURES` ...
    <!-- end of figures -->

Out: the same pages, with these places written anew (`make refresh-docs` does it; a test holds the pages against it).
Invariant: nothing between two such marks is written by hand, and a figure is written in one way everywhere.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.kernels import summary
from benchmarks.markdown import interval, markdown_table
from benchmarks.programs import table
from benchmarks.timing import RESULTS
from comprehension.kernel.locality import bytes_text

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("performance*.md")), ROOT / "docs" / "testing-mutation.md")
_PLACE = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end of figures -->)", re.S)


def refreshed(text: str) -> str:
    """The page's text with the figures that the JSON has now.  Raises KeyError for a place that has another name."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{FIGURES[place[2]]()}\n\n{place[3]}", text)


def results(name: str) -> Any:
    """What the benchmark `name` has measured."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))["results"]


# --- figures ----------------------------------------------------------------------------------------------------


def _span(values: Sequence[float], digits: int = 1) -> str:
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _verdict(met: bool | Sequence[bool]) -> str:
    told = ["met" if each else "open" for each in ([met] if isinstance(met, bool) else met)]
    return told[0] if len(set(told)) == 1 else " / ".join(told)


def _machines() -> str:
    """The processors, as LLVM calls them, with what was measured on each."""
    measured: dict[tuple[str, ...], list[str]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        machine = json.loads(path.read_text("utf-8")).get("machine")
        if machine is not None:
            caches = [bytes_text(machine[f"l{level}_bytes"]) for level in (1, 2, 3)]
            known = machine["processor"], str(machine["cores"]), f"{machine['vector_bits']} bits", " / ".join(caches)
            measured.setdefault(known, []).append(f"`{path.stem}`")
    rows = [[*known, ", ".join(names)] for known, names in sorted(measured.items())]
    return markdown_table(["processor", "cores", "vectors", "first / second / last cache", "results"], rows)


# --- kernels ---------------------------------------------------------------------------------------------------


def _kernels(threads: int) -> str:
    rows = results(f"kernels-{threads}")
    disturbed = sum(row["disturbed"] for row in rows.values()) / len(rows)
    told = f"Taken although a core was disturbed: {_percent(disturbed)} of the samples."
    return f"{summary.goals_table(rows)}\n\n{told}\n\n{summary.markdown(rows)}"


def _pool() -> str:
    rows = []
    for by_name in results("pool_price")["microseconds"].values():
        states = ("awake", "asleep")
        cells = [by_name[f"{state}, {how}"] for state in states for how in ("alone", "divided", "decided")]
        rows.append([f"{cell:.0f}" for cell in cells])
    head = [f"{how}, {state}" for state in ("awake", "asleep") for how in ("alone", "divided", "decided")]
    return markdown_table(head, sorted(rows, key=lambda row: float(row[0])))


def _meets_symbolic(row: Mapping[str, Any]) -> bool:
    return bool(row["symbolic over static"][2] <= 1.03 * row["goal"])


def _symbolic() -> str:
    rows = [
        [name, row["goal"], interval(*row["symbolic over static"]), interval(*row["typical over static"]),
         _verdict(_meets_symbolic(row))]
        for name, row in results("symbolic").items()
    ]  # fmt: skip
    return markdown_table(["", "aim", "planned for sizes seen", "for typical sizes", ""], rows)


def _calls() -> str:
    names = {
        "stage by ctypes": "machine code by itself, through ctypes",
        "numpy.matmul(a, b, out)": "NumPy's product of the same arrays, `out=`",
        "kernel(a, b, out=out)": "kernel, `out=`",
        "kernel(a, b)": "kernel, fresh output",
        "function(a, b)": "the same through the comprehension, fresh output",
        "function(row, 2.0)": "with a scalar",
        "kernel(columns, rows)": "with strided arrays",
        "the long way": "the long way, which every first call takes",
    }
    found = results("launch_price")["calls_us"]
    return markdown_table(["µs a call", ""], [[told, f"{found[name]:.1f}"] for name, told in names.items()])


_COMPILED = {
    "pointwise (gelu)": "pointwise (gelu)",
    "product": "product 512³",
    "attention": "attention, 6 statements, B4 H8 L256 D64",
}
_OUR_STAGES = ("collapse", "scop", "dependences", "schedule", "build", "certify")
_PROOF = ("certify",)


def _compile() -> str:
    found = results("compile_time")
    rows = []
    for name, told in _COMPILED.items():
        cold, stages = found[name]["cold"]["seconds"], found[name]["cold"]["stages"]
        isl = sum(stages[stage] for stage in _OUR_STAGES)
        cached, first = f"{found[name]['cached_seconds'] * 1e3:.1f} ms", f"{found[name]['first_seconds']:.2f} s"
        rows.append([told, f"{cold:.2f} s", f"{isl:.3f} s", cached, first])
    return markdown_table(["", "cold", "of it isl and proof", "from the cache", "the same, first in a program"], rows)


def _statements() -> str:
    rows = []
    found = results("compile_time")["statements"]
    for count in sorted(found, key=int):
        stages = found[count]["stages"]
        isl = sum(stages[stage] for stage in _OUR_STAGES if stage not in _PROOF)
        proof = sum(stages[stage] for stage in _PROOF)
        rows.append([count, f"{isl * 1e3:.0f} ms", f"{proof * 1e3:.0f} ms", f"{found[count]['seconds']:.2f} s"])
    few, many = found["64"]["seconds"], found["500"]["seconds"]
    exponent = math.log(many / few) / math.log(500 / 64)
    told = f"From 64 to 500 statements the whole grows as n^{exponent:.2f} (the aim is n^1.3)."
    return markdown_table(["statements", "isl", "proof", "in all"], rows) + f"\n\n{told}"


# --- programs --------------------------------------------------------------------------------------------------


def _digits() -> str:
    found = results("digits")
    speeds, ratios = found["steps_per_second"], found["co-executed faster by"]
    names = {"co-executed": "co-executed", "eager": "own eager", "torch": "PyTorch eager"}
    rows = [[told, f"{speeds[s]:.0f}", interval(*ratios[s]) if s in ratios else ""] for s, told in names.items()]
    return markdown_table(["", "steps a second", "co-executed faster by (95 % interval)"], rows)


def _eager_baseline() -> str:
    rows = [[name, row["best"], interval(*row["ours_over_best"])] for name, row in results("eager_baseline").items()]
    return markdown_table(["case", "best of the others", "ours ÷ best"], rows)


def _composites() -> str:
    head = ["", "operations", "kernels (nests)", "by hand", "co-executed, µs", "own eager, µs", "faster by"]
    rows = []
    for name, row in results("composites").items():
        us = row["microseconds"]
        rows.append([
            name, row["operations"], f"{row['kernels']} ({row['loop nests']})",
            f"{row['written by hand']}: {row['because']}", f"{us['co-executed']:.0f}", f"{us['eager']:.0f}",
            interval(*row["faster by"], digits=1),
        ])  # fmt: skip
    return markdown_table(head, rows)


def _start() -> str:
    names = {"cold": "nothing compiled before", "warm": "compiled code on disk"}
    rows = []
    for program, sides in results("start").items():
        for state, told in names.items():
            cells = [_first_result(sides[side][state]) for side in ("co-executed", "torch.compile")]
            rows.append([program, told, *(f"{cell:.2g}" if cell < 10 else f"{cell:.0f}" for cell in cells)])
    return markdown_table(["", "first result, seconds after the first call", "co-executed", "torch.compile"], rows)


def _first_result(samples: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(sample["first_result_s"] for sample in samples)


def _op_price() -> str:
    found = results("op_price")
    names = {
        "own work": "NumPy's own addition",
        "eager": "eager, beyond NumPy's",
        "recorded": "recorded, where earlier traces had it, beyond eager",
        "validated": "validated, beyond eager",
    }
    rows = [[told, *(f"{found[f'depth {depth}'][name]:.1f}" for depth in (4, 10))] for name, told in names.items()]
    return markdown_table(["µs an operation", "depth 4", "depth 10"], rows)


def _exchange() -> str:
    found = {name.partition(" ")[2]: figure for name, figure in results("op_price")["exchange"].items()}
    names = {
        "feeds, each": "one tensor more to feed",
        "reads of what is there, each": "one value more to read that is there already",
        "reads that wait, each": "a read that waits, with the addition and the index that it waits for",
    }
    return markdown_table(["µs", ""], [[told, f"{found[name]:.1f}"] for name, told in names.items()])


def _mlp_step() -> str:
    rows = []
    for name, row in results("mlp_step").items():
        us = [f"{row['microseconds'][side]:.0f} µs" for side in ("eager", "co-executed", "torch")]
        rows.append([name.replace("1 threads", "one core, one thread").replace("2 threads", "two cores, two threads"),
                     *us, interval(*row["co-executed over"]["torch"])])  # fmt: skip
    return markdown_table(["", "eager", "co-executed", "PyTorch eager", "co-executed over PyTorch"], rows)


def _fallback() -> str:
    found = results("fallback_price")["milliseconds"]
    names = {
        "eager": "an eager step",
        "co-executed": "a co-executed step",
        "falls back": "the step that leaves the graph",
    }
    rows = [[told, *(f"{found[where][name]:.1f}" for where in found)] for name, told in names.items()]
    return markdown_table(["ms, the new operation stands", *found], rows)


def _long_runs() -> str:
    branchy, sizes, soak = results("branchy"), results("sizes"), results("soak")
    rows = [
        [f"{branchy['programs']:,} random programs with nested branches, fallbacks over an ideal merger's", "1.2",
         f"{branchy['fallbacks over ideal']:.2f}"],
        ["the same, steps in the graph (the ideal merger's)", "75 %",
         f"{_percent(branchy['co-executed'])} ({_percent(branchy['ideal co-executed'])})"],
        [f"{sizes['distinct sizes']} batch sizes and as many lengths: graphs; compilations of a cluster", "3; 2",
         f"{sizes['graphs']}; {sizes['compilations per cluster']}"],
        ["the same, steps in the graph", "", f"{sizes['co-executed steps']} of {sizes['steps']}"],
        ["the same, ms a step (own eager's)", "", f"{sizes['ms, co-executed']:.1f} ({sizes['ms, eager']:.1f})"],
        [f"{soak['steps']:,} steps: memory grown since the first tenth", "flat", f"{soak['MiB grown since']:.1f} MiB"],
        ["the same, file descriptors opened since", "0", soak["descriptors opened since"]],
        ["the same, co-executed; fallbacks", "", f"{soak['co-executed']:,}; {soak['fallbacks']}"],
    ]  # fmt: skip
    return markdown_table(["", "aim", "reached"], rows)


# --- mutation testing ------------------------------------------------------------------------------------------


def _mutation() -> str:
    groups = json.loads((RESULTS / "mutation.json").read_text("utf-8"))
    rows = []
    for name, count in [pair for group in ("compiler", "coexec") for pair in groups[group]["packages"].items()]:
        share, noticed = count["at_first"], count["killed"] + count["timeout"]
        of_all = f"{_percent(share['share'])} ({_percent(share['low'])} to {_percent(share['high'])})"
        ran, at_first = noticed + count["survived"], noticed - count["found_since"]
        rows.append([name, count["places"], ran, at_first, of_all, noticed, count["equivalent"]])
    head = ["sample", "places", "run", "noticed at first", "of all places, 95 %", "noticed now", "equivalent"]
    return markdown_table(head, rows)


# --- at a glance -----------------------------------------------------------------------------------------------


def _glance_kernels() -> list[list[str]]:
    both = [summary.judged(results(f"kernels-{threads}")) for threads in (1, 2)]
    rows = [
        ["**[Kernels](performance.md#kernels-beside-other-libraries)**, geometric means; one thread / two", "", "", ""]
    ]
    for told, name in (
        ("fraction of the machine's limit", "limit"),
        ("fastest of four other libraries ÷ ours, fresh outputs", "best, fresh"),
        ("the same, outputs held", "best, into"),
        ("PyTorch eager ÷ ours, fresh outputs", "torch, fresh"),
        ("the same, outputs held, where PyTorch has them", "torch, into"),
    ):
        pair = [goals[name] for goals in both]
        reached = " / ".join(f"{goal.mean.middle:.2f}" for goal in pair if goal.mean)
        rows.append([told, f"{pair[0].wanted:g}", reached, _verdict([bool(goal.met) for goal in pair])])
    each = [goals["each, fresh"] for goals in both]
    counts = " / ".join(str(goal.cases - len(goal.missing)) for goal in each)
    told = "cases in which the fastest other library ÷ ours is 0.8 or more, fresh outputs"
    rows.append([told, str(each[0].cases), counts, _verdict([bool(goal.met) for goal in each])])
    symbolic = results("symbolic").values()
    met = sum(map(_meets_symbolic, symbolic))
    told = "one kernel [for all sizes](performance.md#one-kernel-for-all-sizes), time over a static one's"
    aim = "1.3 where memory limits, else 1.5"
    rows.append([told, aim, f"met by {met} of {len(symbolic)} cases", _verdict(met == len(symbolic))])
    compiled = [results("compile_time")[name] for name in _COMPILED]
    cold, cached = [row["cold"]["seconds"] for row in compiled], [row["cached_seconds"] * 1e3 for row in compiled]
    told = "[compiled](performance.md#compile-time): pointwise, product, attention"
    met_cold = all(seconds <= aim for seconds, aim in zip(cold, (0.3, 1.5, 3.0), strict=True))
    rows.append([told, "0.3, 1.5, 3 s", ", ".join(f"{s:.2f}" for s in cold) + " s", _verdict(met_cold)])
    rows.append(["from the cache", "5 ms", f"{_span(cached)} ms", _verdict(max(cached) <= 5.0)])
    calls = results("launch_price")["calls_us"]
    quick = [us for name, us in calls.items() if name.startswith(("kernel", "function"))]
    return [*rows, ["[called](performance.md#calling-a-kernel)", "", f"{_span(quick)} µs", ""]]


def _glance_programs() -> list[list[str]]:
    rows = results("programs")
    head = "**[Ten training programs](performance-programs.md#the-ten-programs)**, co-executed, geometric means (all)"
    told = [[head, "", "", ""]]
    sides = (("eager", "their own eager runs", 1), ("torch", "PyTorch eager", 1), ("lazy", "lazy mode", 2))
    for side, what, digits in sides:
        mean, each = table.mean_over(rows, side), list(table.over(rows, side).values())
        wanted, least = table.GOALS[side], table.LEAST[side]
        aim = f"{wanted:g}" + f", all {least:g}" * bool(least)
        met = mean >= wanted and min(each) >= least
        told.append([f"over {what}", aim, f"{mean:.2f} ({_span(each, digits)})", _verdict(met)])
    by = results("digits")["co-executed faster by"]
    both = f"{by['eager'][1]:.2f} and {by['torch'][1]:.2f}"
    step = "[the digits step](performance-programs.md#the-digits-step), over own eager and PyTorch eager"
    return [*told, [step, "", both, ""]]


def _glance_python() -> list[list[str]]:
    prices = results("op_price")
    validated, recorded = ([prices[f"depth {d}"][name] for d in (4, 10)] for name in ("validated", "recorded"))
    exchange = [us for name, us in prices["exchange"].items() if "wait" not in name]
    mlp = [results("mlp_step")[f"{n} threads"]["co-executed over"]["torch"] for n in (1, 2)]
    branchy, sizes, soak = results("branchy"), results("sizes"), results("soak")
    start = results("start")["gpt2"]
    ours, theirs = (_first_result(start[side]["cold"]) for side in ("co-executed", "torch.compile"))
    within = [ratio[2] <= 0.5 * 1.03 for ratio in mlp]
    long_run = f"{soak['MiB grown since']:.1f} MiB, {soak['descriptors opened since']} descriptors more"
    page = "performance-programs.md"
    return [
        [f"**[Python's side]({page}#what-an-operation-costs)** of a co-executed step", "", "", ""],
        ["an operation validated, beyond eager", "0.6 µs", f"{_span(validated)} µs", _verdict(max(validated) <= 0.6)],
        ["an operation recorded, beyond eager", "2 µs", f"{_span(recorded)} µs", _verdict(max(recorded) <= 2.0)],
        ["a tensor fed, a value read", "3 µs", f"{_span(exchange)} µs", _verdict(max(exchange) <= 3.0)],
        ["a small step (an MLP's), time over PyTorch's; one core / two", "0.5",
         " / ".join(f"{ratio[1]:.2f}" for ratio in mlp), _verdict(within)],
        [f"[branches]({page}#branches-sizes-and-long-runs): fallbacks over an ideal merger's; steps co-executed",
         "1.2; 75 %", f"{branchy['fallbacks over ideal']:.2f}; {_percent(branchy['co-executed'])}",
         _verdict(branchy["fallbacks over ideal"] <= 1.2 and branchy["co-executed"] >= 0.75)],
        [f"{sizes['distinct sizes']} batch sizes and as many lengths", "3 graphs", f"{sizes['graphs']}",
         _verdict(sizes["graphs"] <= 3)],
        [f"{soak['steps']:,} steps", "flat", long_run, _verdict(soak["MiB grown since"] < 8)],
        [f"[first useful result]({page}#how-soon-a-program-is-useful) over torch.compile's (GPT2)", "1/3",
         f"1/{int(theirs / ours)}", _verdict(ours <= theirs / 3)],
    ]  # fmt: skip


def _glance() -> str:
    return markdown_table(["what", "aim", "reached", ""], [*_glance_kernels(), *_glance_programs(), *_glance_python()])


def _readme() -> str:
    one, two = (results(f"kernels-{threads}") for threads in (1, 2))
    both = [summary.judged(rows) for rows in (one, two)]
    best, eager = ([goals[name].mean for goals in both] for name in ("best, fresh", "torch, fresh"))
    behind = [len(goals["each, fresh"].missing) for goals in both]
    of_limit = [summary.means(rows) for rows in (one, two)]
    programs = results("programs")
    digits = results("digits")["co-executed faster by"]
    branchy = results("branchy")
    compiled = [results("compile_time")[name] for name in _COMPILED]
    cold, cached = [row["cold"]["seconds"] for row in compiled], [row["cached_seconds"] * 1e3 for row in compiled]

    def figures(pair: Sequence[summary.Figure | None]) -> str:
        first, second = (f"{each.middle:.1f}" for each in pair if each)
        return f"**{first} ×** on one core, {second} × on two"

    def programs_over(side: str) -> str:
        return f"**{table.mean_over(programs, side):.1f} ×** ({_span(list(table.over(programs, side).values()))})"

    def shares(side: str) -> str:
        return " and ".join(f"{means[side][0].middle:.2f}" for means in of_limit)

    rows = [
        ["ten training programs in small (ResNet, GPT2, BERT, DCGAN, YOLOv3, Faster R-CNN ...), co-executed, beside "
         "their own eager runs", f"{programs_over('eager')} as fast"],
        ["the same beside PyTorch eager", f"{programs_over('torch')} as fast"],
        ["digits classifier, co-executed, beside its own eager run and PyTorch eager",
         f"**{digits['eager'][1]:.1f} ×** and **{digits['torch'][1]:.1f} ×** as fast"],
        [f"{len(one)} kernels (products, convolutions, attention, norms, lookups, sums ...), beside the fastest of "
         "NumPy, PyTorch, torch.compile and JAX in each case, fresh outputs",
         f"{figures(best)}; more than a fifth slower in {_counted(behind)}"],
        ["the same beside PyTorch eager", figures(eager)],
        ["the same, fraction of the limit that was measured in the same run, on one core and on two",
         f"{shares('ours')}; PyTorch {shares('torch')}"],
        [f"{branchy['programs']:,} random programs with nested branches, steps that ran in the graph",
         f"{_percent(branchy['co-executed'])}; of an ideal merger {_percent(branchy['ideal co-executed'])}"],
        ["a kernel compiled, proof included: pointwise, product, attention",
         ", ".join(f"{seconds:.2g}" for seconds in cold) + f" s; from the cache {_span(cached)} ms"],
    ]  # fmt: skip
    return markdown_table(
        ["two cores, shared virtual machine; geometric means, in brackets from least to most", ""], rows
    )


def _counted(behind: Sequence[int]) -> str:
    told = [str(count) if count else "none" for count in behind]
    return f"{told[0]} on one core, {told[1]} on two" if told[0] != told[1] else f"{told[0]} on either"


FIGURES: dict[str, Callable[[], str]] = {
    "readme": _readme,
    "glance": _glance,
    "machines": _machines,
    "kernels-1": lambda: _kernels(1),
    "kernels-2": lambda: _kernels(2),
    "pool": _pool,
    "symbolic": _symbolic,
    "calls": _calls,
    "compile": _compile,
    "statements": _statements,
    "digits": _digits,
    "eager-baseline": _eager_baseline,
    "programs": lambda: f"{table.markdown(results('programs'))}\n\n{table.goals_markdown(results('programs'))}",
    "census": lambda: table.census_markdown(results("programs")),
    "composites": _composites,
    "start": _start,
    "op-price": _op_price,
    "exchange": _exchange,
    "mlp-step": _mlp_step,
    "fallback": _fallback,
    "long-runs": _long_runs,
    "mutation": _mutation,
}


def main() -> None:
    for path in PAGES:
        before = path.read_text("utf-8")
        after = refreshed(before)
        if after != before:
            path.write_text(after, "utf-8")
            print(f"refreshed: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

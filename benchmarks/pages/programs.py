"""Figures of training programs, of co-execution and of mutation testing.

In: results by name.  Out: Markdown.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.markdown import interval, markdown_table
from benchmarks.pages.figures import percent, results, span
from benchmarks.programs import table
from benchmarks.timing import RESULTS


def ten_programs() -> str:
    rows = results("programs")
    return f"{table.markdown(rows)}\n\n{table.goals_markdown(rows)}"


def census() -> str:
    return table.census_markdown(results("programs"))


def digits() -> str:
    found = results("digits")
    speeds, ratios = found["steps_per_second"], found["co-executed faster by"]
    names = {"co-executed": "co-executed", "eager": "own eager", "torch": "PyTorch eager"}
    rows = [[told, f"{speeds[s]:.0f}", interval(*ratios[s]) if s in ratios else ""] for s, told in names.items()]
    return markdown_table(["", "steps a second", "co-executed faster by (95 % interval)"], rows)


def eager_baseline() -> str:
    rows = [[name, row["best"], interval(*row["ours_over_best"])] for name, row in results("eager_baseline").items()]
    return markdown_table(["case", "best of the others", "ours ÷ best"], rows)


def composites() -> str:
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


def start() -> str:
    names = {"cold": "nothing compiled before", "warm": "compiled code on disk"}
    rows = []
    for program, sides in results("start").items():
        for state, told in names.items():
            both = [sides.get(side, {}).get(state) for side in ("co-executed", "torch.compile")]
            fast = first_fast_step(sides["co-executed"][state])
            cells = [*(first_result(samples) if samples else None for samples in both), fast]
            rows.append([program, told, *(_seconds(cell) for cell in cells)])
    return markdown_table(
        ["", "seconds after the first call", "first result", "torch.compile's", "first co-executed step"], rows
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def first_result(samples: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(sample["first_result_s"] for sample in samples)


def first_fast_step(samples: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(sample["first_fast_step_s"] for sample in samples)


def step_memory() -> str:
    rows = []
    for found in results("step_memory"):
        both = [span(found["MiB"][side], 0) for side in ("eager", "co-executed")]
        rows.append([f"{found['model']}, batch {found['batch']:,}", *both, f"{over_eager(found):.2f}"])
    return markdown_table(["peak, MiB", "eager", "co-executed", "ratio of the medians"], rows)


def over_eager(found: Mapping[str, Mapping[str, Sequence[float]]]) -> float:
    """The memory of a co-executed step over an eager one's."""
    ours, eager = (statistics.median(found["MiB"][side]) for side in ("co-executed", "eager"))
    return ours / eager


def op_price() -> str:
    found = results("op_price")
    names = {
        "own work": "NumPy's own addition",
        "eager": "eager, beyond NumPy's",
        "recorded": "recorded, where earlier traces had it, beyond eager",
        "validated": "validated, beyond eager",
    }
    rows = [[told, *(f"{found[f'depth {depth}'][name]:.1f}" for depth in (4, 10))] for name, told in names.items()]
    return markdown_table(["µs an operation", "depth 4", "depth 10"], rows)


def exchange() -> str:
    found = {name.partition(" ")[2]: figure for name, figure in results("op_price")["exchange"].items()}
    names = {
        "feeds, each": "one tensor more to feed",
        "reads of what is there, each": "one value more to read that is there already",
        "reads that wait, each": "a read that waits, with the addition and the index that it waits for",
    }
    return markdown_table(["µs", ""], [[told, f"{found[name]:.1f}"] for name, told in names.items()])


def mlp_step() -> str:
    rows = []
    for name, row in results("mlp_step").items():
        us = [f"{row['microseconds'][side]:.0f} µs" for side in ("eager", "co-executed", "torch")]
        rows.append([name.replace("1 threads", "one core, one thread").replace("2 threads", "two cores, two threads"),
                     *us, interval(*row["co-executed over"]["torch"])])  # fmt: skip
    return markdown_table(["", "eager", "co-executed", "PyTorch eager", "co-executed over PyTorch"], rows)


def fallback() -> str:
    found = results("fallback_price")["milliseconds"]
    names = {
        "eager": "an eager step",
        "co-executed": "a co-executed step",
        "falls back": "the step that leaves the graph",
    }
    rows = [[told, *(f"{found[where][name]:.1f}" for where in found)] for name, told in names.items()]
    return markdown_table(["ms, the new operation stands", *found], rows)


def long_runs() -> str:
    branchy, sizes, soak = results("branchy"), results("sizes"), results("soak")
    trained = results("trainings")
    rows = [
        [f"{branchy['programs']:,} random programs with nested branches, fallbacks over an ideal merger's", "1.2",
         f"{branchy['fallbacks over ideal']:.2f}"],
        ["the same, steps in the graph (the ideal merger's)", "75 %",
         f"{percent(branchy['co-executed'])} ({percent(branchy['ideal co-executed'])})"],
        [f"{trained['programs']} drawn training programs over {trained['steps']} steps: steps in the graph", "",
         percent(trained["co-executed"])],
        ["the same, programs with half of their steps in the graph", "",
         percent(trained["programs with half co-executed"])],
        [f"{sizes['distinct sizes']} batch sizes and as many lengths: graphs; compilations of a cluster", "3; 2",
         f"{sizes['graphs']}; {sizes['compilations per cluster']}"],
        ["the same, steps in the graph", "", f"{sizes['co-executed steps']} of {sizes['steps']}"],
        ["the same, ms a step (own eager's)", "", f"{sizes['ms, co-executed']:.1f} ({sizes['ms, eager']:.1f})"],
        [f"{soak['steps']:,} steps: memory grown since the first tenth", "flat", f"{soak['MiB grown since']:.1f} MiB"],
        ["the same, file descriptors opened since", "0", soak["descriptors opened since"]],
        ["the same, co-executed; fallbacks", "", f"{soak['co-executed']:,}; {soak['fallbacks']}"],
    ]  # fmt: skip
    return markdown_table(["", "aim", "reached"], rows)


def mutation() -> str:
    groups = json.loads((RESULTS / "mutation.json").read_text("utf-8"))
    rows = []
    for name, count in [pair for group in ("compiler", "coexec") for pair in groups[group]["packages"].items()]:
        share, noticed = count["at_first"], count["killed"] + count["timeout"]
        of_all = f"{percent(share['share'])} ({percent(share['low'])} to {percent(share['high'])})"
        ran, at_first = noticed + count["survived"], noticed - count["found_since"]
        rows.append([name, count["places"], ran, at_first, of_all, noticed, count["equivalent"]])
    head = ["sample", "places", "run", "noticed at first", "of all places, 95 %", "noticed now", "equivalent"]
    return markdown_table(head, rows)

"""Figures at a glance: every aim with what was reached, and the README's table.

In: results by name.  Out: Markdown.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.kernels import summary
from benchmarks.markdown import markdown_table
from benchmarks.pages.figures import percent, results, span, verdict
from benchmarks.pages.kernels import COMPILED, TWO_FMAS, meets_symbolic
from benchmarks.pages.programs import first_fast_step, first_result, over_eager
from benchmarks.programs import table

_HEAD = ["what", "aim", "reached", ""]


def _glance_kernels() -> list[list[str]]:
    both = [summary.judged(results(f"kernels-{threads}"), threads) for threads in (1, 2)]
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
        rows.append([told, f"{pair[0].wanted:g}", reached, verdict([bool(goal.met) for goal in pair])])
    for told, name in (
        ("cases in which the fastest other library ÷ ours is 0.8 or more, fresh outputs", "each, fresh"),
        ("large products that reach 0.75 of the peak", "products"),
        ("convolutions that reach 0.75 of the lane-adjusted limit", "convolutions"),
        ("memory-bound cases that reach 0.85 of copy bandwidth ([why not](performance-kernels.md))", "memory"),
        ("lookups that reach 0.85 of the lines' limit", "tables"),
    ):
        pair = [goals[name] for goals in both]
        counts = " / ".join(str(goal.cases - len(goal.missing)) for goal in pair)
        rows.append([told, f"{pair[0].cases}", counts, verdict([bool(goal.met) for goal in pair])])
    rows += [*_glance_two_fmas(), _symbolic_row()]
    compiled = [results("compile_time")[name] for name in COMPILED]
    cold, cached = [row["cold"]["seconds"] for row in compiled], [row["cached_seconds"] * 1e3 for row in compiled]
    told = "[compiled](performance.md#compile-time): pointwise, product, attention"
    met_cold = all(seconds <= aim for seconds, aim in zip(cold, (0.3, 1.5, 3.0), strict=True))
    rows.append([told, "0.3, 1.5, 3 s", ", ".join(f"{s:.2f}" for s in cold) + " s", verdict(met_cold)])
    rows.append(["from the cache", "5 ms", f"{span(cached)} ms", verdict(max(cached) <= 5.0)])
    calls = results("launch_price")["calls_us"]
    quick = [us for name, us in calls.items() if name.startswith(("kernel", "function"))]
    return [*rows, ["[called](performance.md#calling-a-kernel)", "", f"{span(quick)} µs", ""]]


def _glance_two_fmas() -> list[list[str]]:
    """The first aims where a core finishes two multiply-adds a cycle."""
    names, rows = ("limit", "best, fresh", "torch, fresh"), []
    link = "performance.md#on-cores-with-two-multiply-adds-a-cycle"
    for folder, processor in TWO_FMAS.items():
        both = [summary.judged(results(f"kernels-{threads}", folder), threads) for threads in (1, 2)]
        pairs = [" / ".join(f"{goals[name].mean.middle:.2f}" for goals in both if goals[name].mean) for name in names]
        told = f"[on {processor}]({link}): limit; fastest other; PyTorch"
        aims = "; ".join(f"{both[0][name].wanted:g}" for name in names)
        rows.append([told, aims, "; ".join(pairs), verdict(all(goals[name].met for goals in both for name in names))])
    return rows


def _symbolic_row(elsewhere: str = "") -> list[str]:
    rows = results("symbolic", elsewhere).values()
    met = sum(map(meets_symbolic, rows))
    told = "one kernel [for all sizes](performance.md#one-kernel-for-all-sizes), time over a static one's"
    aim = "1.3 where memory limits, else 1.5"
    return [told, aim, f"met by {met} of {len(rows)} cases", verdict(met == len(rows))]


def _program_rows() -> list[list[str]]:
    rows = results("programs")
    head = "**[Ten training programs](performance-programs.md#the-ten-programs)**, co-executed, geometric means (all)"
    told = [[head, "", "", ""]]
    sides = (("eager", "their own eager runs", 1), ("torch", "PyTorch eager", 1), ("lazy", "lazy mode", 2))
    for side, what, digits in sides:
        mean, each = table.mean_over(rows, side), list(table.over(rows, side).values())
        wanted, least = table.GOALS[side], table.LEAST[side]
        aim = f"{wanted:g}" + f", all {least:g}" * bool(least)
        met = mean >= wanted and min(each) >= least
        told.append([f"over {what}", aim, f"{mean:.2f} ({span(each, digits)})", verdict(met)])
    return told


def _digits_row() -> list[str]:
    by = results("digits")["co-executed faster by"]
    both = f"{by['eager'][1]:.2f} and {by['torch'][1]:.2f}"
    step = "[the digits step](performance-programs.md#the-digits-step), over own eager and PyTorch eager"
    return [step, "", both, ""]


def _price_rows(elsewhere: str = "") -> list[list[str]]:
    """What Python's side of a co-executed step costs."""
    prices = results("op_price", elsewhere)
    validated, recorded = ([prices[f"depth {d}"][name] for d in (4, 10)] for name in ("validated", "recorded"))
    exchange = [us for name, us in prices["exchange"].items() if "wait" not in name]
    mlp = [results("mlp_step", elsewhere)[f"{n} threads"]["co-executed over"]["torch"] for n in (1, 2)]
    stays = results("fallback_price", elsewhere)["milliseconds"].values()
    leaving = [where["falls back"] - where["eager"] for where in stays]
    within = [ratio[2] <= 0.5 * 1.03 for ratio in mlp]
    page = "performance-programs.md"
    return [
        [f"**[Python's side]({page}#what-an-operation-costs)** of a co-executed step", "", "", ""],
        ["an operation validated, beyond eager", "0.6 µs", f"{span(validated)} µs", verdict(max(validated) <= 0.6)],
        ["an operation recorded, beyond eager", "2 µs", f"{span(recorded)} µs", verdict(max(recorded) <= 2.0)],
        ["a tensor fed, a value read", "3 µs", f"{span(exchange)} µs", verdict(max(exchange) <= 3.0)],
        ["a small step (an MLP's), time over PyTorch's; one core / two", "0.5",
         " / ".join(f"{ratio[1]:.2f}" for ratio in mlp), verdict(within)],
        [f"[leaving the graph]({page}#leaving-the-graph) of 300 operations, and merging, beyond an eager step", "2 ms",
         f"{span(leaving)} ms", verdict(max(leaving) <= 2 * 1.03)],
    ]  # fmt: skip


def _glance_long_runs() -> list[list[str]]:
    branchy, sizes, soak = results("branchy"), results("sizes"), results("soak")
    start = results("start")
    ours, theirs = (first_result(start["gpt2"][side]["cold"]) for side in ("co-executed", "torch.compile"))
    warm = first_fast_step(start["digits"]["co-executed"]["warm"])
    memory = [over_eager(found) for found in results("step_memory")]
    long_run = f"{soak['MiB grown since']:.1f} MiB, {soak['descriptors opened since']} descriptors more"
    page = "performance-programs.md"
    return [
        [f"[branches]({page}#branches-sizes-and-long-runs): fallbacks over an ideal merger's; steps co-executed",
         "1.2; 75 %", f"{branchy['fallbacks over ideal']:.2f}; {percent(branchy['co-executed'])}",
         verdict(branchy["fallbacks over ideal"] <= 1.2 and branchy["co-executed"] >= 0.75)],
        [f"{sizes['distinct sizes']} batch sizes and as many lengths", "3 graphs", f"{sizes['graphs']}",
         verdict(sizes["graphs"] <= 3)],
        [f"{soak['steps']:,} steps", "flat", long_run, verdict(soak["MiB grown since"] < 8)],
        [f"[memory of a step]({page}#memory-of-a-step) over an eager one's", "1.1", span(memory, 2),
         verdict(max(memory) <= 1.1)],
        [f"[digits]({page}#how-soon-a-program-is-useful), code on disk: first co-executed step", "1 s", f"{warm:.2f} s",
         verdict(warm <= 1.0)],
        [f"[first useful result]({page}#how-soon-a-program-is-useful) over torch.compile's (GPT2)", "1/3",
         f"1/{int(theirs / ours)}", verdict(ours <= theirs / 3)],
    ]  # fmt: skip


def at_a_glance() -> str:
    programs = [*_program_rows(), _digits_row()]
    return markdown_table(_HEAD, [*_glance_kernels(), *programs, *_price_rows(), *_glance_long_runs()])


def elsewhere(folder: str) -> str:
    """What was measured on another processor, besides its kernels."""
    return markdown_table(_HEAD, [_symbolic_row(folder), *_price_rows(folder)])


def readme() -> str:
    one, two = (results(f"kernels-{threads}") for threads in (1, 2))
    both = [summary.judged(rows, threads) for threads, rows in ((1, one), (2, two))]
    best, eager = ([goals[name].mean for goals in both] for name in ("best, fresh", "torch, fresh"))
    behind = [len(goals["each, fresh"].missing) for goals in both]
    of_limit = [summary.means(rows) for rows in (one, two)]
    programs = results("programs")
    digits = results("digits")["co-executed faster by"]
    branchy = results("branchy")
    compiled = [results("compile_time")[name] for name in COMPILED]
    cold, cached = [row["cold"]["seconds"] for row in compiled], [row["cached_seconds"] * 1e3 for row in compiled]

    def figures(pair: Sequence[summary.Figure | None]) -> str:
        first, second = (f"{each.middle:.1f}" for each in pair if each)
        return f"**{first} ×** on one core, {second} × on two"

    def programs_over(side: str) -> str:
        return f"**{table.mean_over(programs, side):.1f} ×** ({span(list(table.over(programs, side).values()))})"

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
         f"{percent(branchy['co-executed'])}; of an ideal merger {percent(branchy['ideal co-executed'])}"],
        ["a kernel compiled, proof included: pointwise, product, attention",
         ", ".join(f"{seconds:.2g}" for seconds in cold) + f" s; from the cache {span(cached)} ms"],
    ]  # fmt: skip
    return markdown_table(
        ["two cores, shared virtual machine; geometric means, in brackets from least to most", ""], rows
    )


def _counted(behind: Sequence[int]) -> str:
    told = [str(count) if count else "none" for count in behind]
    return f"{told[0]} on one core, {told[1]} on two" if told[0] != told[1] else f"{told[0]} on either"

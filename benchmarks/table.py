"""Run the benchmarks and write the table that the book's appendix shows: python benchmarks/table.py FILE.md"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from radio_bnn.files import replacing

HERE = Path(__file__).parent
# Row: (benchmark, key of its JSON line, what it compares); what the project aims at is in README.md.
ROWS = (
    ("train_step", "ratio_fp32", "training step, float32: times faster than the plain implementation"),
    ("train_step", "ratio_bf16", "training step, bfloat16: times faster than the plain implementation"),
    ("train_step", "bayesian_over_plain", "Bayesian training step, same engine: times longer than that of a plain CNN"),
    ("train_step", "peak_memory_mb", "peak memory of training [MB]"),
    ("predict", "ratio_fp32", "prediction, float32: times faster than the batched plain one"),
    ("predict", "ratio_bf16", "prediction, bfloat16: times faster than the batched plain one"),
    ("predict", "ratio_single_fp32", "prediction, float32: times faster than one image and one sample at a time"),
    ("predict", "ratio_single_bf16", "prediction, bfloat16: times faster than one image and one sample at a time"),
    (
        "classify",
        "galaxies_per_second",
        "`radio-bnn classify`, a process per thread, files in and out: galaxies / s",
    ),
    ("classify", "ratio", "the same: times faster than the plain network with the same reader"),
    ("classify", "read_s", "one process, reading [s / 1,000 galaxies]"),
    ("classify", "draw_s", "one process, drawing weights [s / 1,000 galaxies]"),
    ("classify", "judge_s", "one process, networks and scores [s / 1,000 galaxies]"),
    ("classify", "write_s", "one process, writing [s / 1,000 galaxies]"),
    ("classify", "memory_mb", "one process, peak memory for many galaxies [MB]"),
    ("classify", "first_answer_s", "one galaxy, from the command to the table [s]"),
    ("classify", "help_s", "`radio-bnn --help` [s]"),
)
BENCHMARKS = ("train_step", "predict", "classify")
MANY = 10**7
CORES = 1000


def run(name: str) -> list[dict]:
    """The JSON lines of one benchmark, one per thread count."""
    command = [sys.executable, str(HERE / f"{name}.py")]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def table(results: dict[str, list[dict]]) -> str:
    """A Markdown table with one column per thread count, and the hardware line."""
    threads = [line["threads"] for line in results["train_step"]]
    header = ["", *(f"{n} thread{'s' if n > 1 else ''}" for n in threads)]
    lines = [header, [":---", *["---:"] * len(threads)]]
    for benchmark, key, title in ROWS:
        lines.append([title, *(f"{line[key]:g}" for line in results[benchmark])])
    where = results["train_step"][-1]
    hardware = (
        f"{where['hardware']['processor']}, {where['hardware']['cores']} cores, PyTorch {where['hardware']['torch']}"
    )
    note = f"Measured on {hardware}; images: {where['data']}. Ratios are medians over interleaved rounds."
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{rows}\n\n{note}\n\n{many_galaxies(results['classify'][0])}\n"


def many_galaxies(line: dict) -> str:
    """What ten million galaxies cost on a cluster, and what fewer draws save, in two sentences."""
    hours = MANY / line["galaxies_per_second"] / 3600
    return (
        f"At the rate of one process ten million galaxies take {hours:,.0f} hours of a core, {hours / CORES:.1f} hours "
        f"of {CORES:,} cores. Peak memory is that for {line['many']:,} galaxies. Of each network 200 draws take "
        f"{line['many_draws_s'] / line['few_draws_s']:.1f} times as long as the package's, and change P(FRI) by "
        f"{line['draws_change_median']:.3f} in the median, {line['draws_change_q95']:.3f} for one in twenty."
    )


def main(path: Path) -> None:
    text = table({name: run(name) for name in BENCHMARKS})
    with replacing(path) as partial:
        partial.write_text(text)
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

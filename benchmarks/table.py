"""Run both benchmarks and write the table that the book's appendix shows: python benchmarks/table.py FILE.md"""

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
)


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
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{note}\n"


def main(path: Path) -> None:
    text = table({name: run(name) for name in ("train_step", "predict")})
    with replacing(path) as partial:
        partial.write_text(text)
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

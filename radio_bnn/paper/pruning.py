"""Pruning records: what each ranking does to one trained posterior, for every pruned fraction."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from radio_bnn.config import Config
from radio_bnn.data import Splits
from radio_bnn.evaluation.metrics import METRICS, Metric
from radio_bnn.evaluation.resampling import contrast
from radio_bnn.inference import prune
from radio_bnn.model.inputs import network_input
from radio_bnn.model.priors import make_prior
from radio_bnn.paper import tables
from radio_bnn.paper.contrasts import Contrast, shared_labels
from radio_bnn.runs import execute
from radio_bnn.runs.records import Posterior, Record, check_galaxies, expect, expect_names, find
from radio_bnn.seeds import generator

FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SAVED_AT = (0.0, 0.3, 0.6, 0.9, 0.95)
SAVINGS = ("fraction", "dense_bytes", "sparse_bytes", "dense_ms", "sparse_ms", "network_ms")
SAMPLES = 50
FISHER_DRAWS = 10
REPEATS = 31


class Pruning(Record):
    """What pruning does to the posterior of a run.

    Arrays: logits_<ranking> (F, S, N, 2) float16 for the F = 11 ``FRACTIONS`` on the test galaxies; labels (N,) uint8
    with 0 FRI, 1 FRII; counts_<weight tensor> (B,) uint32, weights per bin of the SNR in dB.
    """

    kind = "pruning"

    @property
    def logits(self) -> dict[str, np.ndarray]:
        """The test logits by ranking, {ranking: (F, S, N, 2) float16}."""
        return {name: self.arrays[f"logits_{name}"] for name in prune.IMPORTANCE}

    @property
    def labels(self) -> np.ndarray:
        """The labels of the test galaxies (N,), int64."""
        return self.arrays["labels"].astype(np.int64)

    @property
    def counts(self) -> dict[str, np.ndarray]:
        """Weights per bin of the SNR by weight tensor, {name: (B,)}."""
        return {name: self.arrays[f"counts_{name}"] for name in self.content["tensors"]}

    def at(self, ranking: str, fraction: float) -> np.ndarray:
        """The test logits (S, N, 2) with ``fraction`` pruned by ``ranking``; ValueError for what is not stored."""
        return self.logits[known(ranking)][place(fraction)]

    def check(self) -> None:
        """Raise ValueError or KeyError unless rankings, fractions, shapes and galaxies are whole and fit."""
        if tuple(self.content["fractions"]) != FRACTIONS:
            raise ValueError(f"its fractions are {self.content['fractions']}, expected {list(FRACTIONS)}")
        rankings, tensors = [f"logits_{name}" for name in prune.IMPORTANCE], self.content["tensors"]
        expect_names(self.arrays, [*rankings, *(f"counts_{name}" for name in tensors), "labels"])
        labels = self.arrays["labels"]
        check_galaxies(self, {"test": labels})
        for name in rankings:
            expect(name, self.arrays[name], (len(FRACTIONS), self.content["samples"], len(labels), 2), np.float16)
        for name, counts in self.counts.items():
            expect(f"counts_{name}", counts, (len(prune.DECIBEL_EDGES) - 1,), np.uint32)
        expect_names(self.content["agreement_with_snr"], [name for name in prune.IMPORTANCE if name != "snr"])
        if [row["fraction"] for row in self.content["savings"]] != list(SAVED_AT):
            raise ValueError(f"its savings are not those at {list(SAVED_AT)}")
        for row in self.content["savings"]:
            expect_names(row, SAVINGS)
        for shares in (self.content["regimes"] or {}).values():
            expect_names(shares, prune.REGIMES)


def place(fraction: float) -> int:
    """The index of ``fraction`` in FRACTIONS. Raises ValueError for a fraction that no record holds."""
    if fraction not in FRACTIONS:
        raise ValueError(f"fraction={fraction} is not stored: choose one of {', '.join(f'{f:g}' for f in FRACTIONS)}")
    return FRACTIONS.index(fraction)


def known(ranking: str) -> str:
    """``ranking`` itself. Raises ValueError if it is not one of prune.IMPORTANCE."""
    if ranking not in prune.IMPORTANCE:
        raise ValueError(f"ranking={ranking!r} is not known: choose one of {', '.join(prune.IMPORTANCE)}")
    return ranking


def stored(configs: Sequence[Config]) -> list[Pruning]:
    """The pruning records that exist of ``configs``, in order; possibly none."""
    return [found for config in configs if (found := find(config, Pruning)) is not None]


# Make


def measure(posterior: Posterior, *, samples: int = SAMPLES, progress: bool = False) -> Pruning:
    """Prune a posterior in every way and predict the test galaxies, on one thread.

    The Fisher information is the true one (summed over the classes), on the training galaxies, averaged over
    posterior draws. Raises ValueError for a method that has no posterior.
    """
    config = posterior.config
    started = time.perf_counter()
    with execute.one_thread():
        splits, model = execute.load_data(config), execute.network(posterior)
        if not (q := prune.frozen(model)):
            raise ValueError(f"method={config.method!r} has no posterior to prune: use method='vi'")
        rankings = _rankings(config, model, splits)
        x = network_input(splits["test"].images, dtype=q["fc1.weight"].mean.dtype)
        noise = generator(config.seed, "predict")
        logits = prune.predict_pruned(
            model, rankings, x, FRACTIONS, samples=samples, generator=noise, progress=progress
        )
        measured = {"agreement_with_snr": agreement(rankings, "snr"), "savings": savings(model, q, rankings["snr"], x)}
    counts = prune.signal_to_noise_counts(q)
    made = execute.described(config, splits, device="cpu", seconds=time.perf_counter() - started)
    fisher = {"kind": "true", "draws": FISHER_DRAWS, "galaxies": len(splits["train"])}
    content = made | {"fractions": list(FRACTIONS), "samples": samples, "fisher": fisher}
    content |= {"tensors": list(counts), "regimes": _regimes(config, q)} | measured
    arrays = {f"logits_{name}": values.astype(np.float16) for name, values in logits.items()}
    arrays |= {f"counts_{name}": values.astype(np.uint32) for name, values in counts.items()}
    return Pruning(config, content, arrays | {"labels": splits["test"].labels.astype(np.uint8)})


def _regimes(config: Config, q: prune.Posterior) -> dict[str, dict[str, float]] | None:
    """Defined for a Gaussian prior only."""
    return (
        prune.regimes(q, make_prior("gaussian", scale=config.prior_scale).scale) if config.prior == "gaussian" else None
    )


def _rankings(config: Config, model: nn.Module, splits: Splits) -> dict[str, prune.Importance]:
    q, noise = prune.frozen(model), generator(config.seed, "fisher")
    x = network_input(splits["train"].images, dtype=q["fc1.weight"].mean.dtype)
    fisher = prune.fisher_information(model, x, draws=FISHER_DRAWS, generator=noise)
    return prune.importances(q, fisher, generator=generator(config.seed, "random ranking"))


def agreement(rankings: dict[str, prune.Importance], reference: str) -> dict[str, float]:
    """Spearman's rank correlation of every ranking with the ``reference`` one over all fully-connected weights."""
    names = prune.fully_connected(rankings[reference])
    flat = {k: torch.cat([v[n].flatten() for n in names]).cpu().numpy() for k, v in rankings.items()}
    return {k: float(spearmanr(flat[reference], v).statistic) for k, v in flat.items() if k != reference}


def savings(
    model: nn.Module, q: prune.Posterior, importance: prune.Importance, x: Any, *, repeats: int = REPEATS
) -> list[dict[str, float]]:
    """File sizes and prediction times of ``q`` pruned to the fractions SAVED_AT, one mapping each.

    "dense_bytes", "sparse_bytes": files of ``prune.export``. "dense_ms", "sparse_ms": the fully-connected layers at the
    posterior mean for all images ``x``, median of ``repeats``; "network_ms": the whole dense network. One thread.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), prune.posterior_mean(model), torch.inference_mode():
        network = _milliseconds(lambda: model(x), max(1, repeats // 10))
    features, rows = np.ascontiguousarray(prune.head_input(model, x)), []
    with TemporaryDirectory() as folder, threadpool_limits(1):
        for fraction in SAVED_AT:
            pruned, row = prune.prune(q, importance, fraction), {"fraction": fraction, "network_ms": network}
            for kind, sparse in (("dense", False), ("sparse", True)):
                head = prune.mean_head(pruned, sparse=sparse)
                row[f"{kind}_bytes"] = prune.export(pruned, Path(folder) / "pruned.npz", sparse=sparse)
                row[f"{kind}_ms"] = _milliseconds(partial(prune.apply_head, head, features), repeats)
            rows.append(row)
    return rows


def _milliseconds(call: Callable[[], Any], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return float(f"{median(times):.3g}")


# Compare


def _uce_fri_minus_frii() -> Metric:
    fri, frii = METRICS["uce_fri_percent"], METRICS["uce_frii_percent"]
    return Metric(fri.columns, lambda *columns: fri.reduce(*columns) - frii.reduce(*columns))


STATISTICS: dict[str, Metric] = METRICS | {"uce_fri_minus_frii_percent": _uce_fri_minus_frii()}


def difference(
    records: Sequence[Pruning],
    statistic: str,
    a: tuple[str, float],
    b: tuple[str, float] = ("snr", 0.0),
    *,
    resamples: int = 1000,
) -> Contrast:
    """A statistic of STATISTICS at ``a`` minus at ``b``, each (ranking, fraction); "not run" without records.

    A ``resampling.contrast`` over galaxies and, where there are several records, seeds; ``b`` is unpruned by default.
    Raises ValueError if the records score different galaxies.
    """
    if not records:
        return Contrast(None, 0)
    terms = [(sign, [record.at(*where) for record in records]) for sign, where in ((1.0, a), (-1.0, b))]
    labels = shared_labels([record.labels for record in records])
    return Contrast(contrast(STATISTICS[statistic], terms, labels, resamples=resamples), len(records))


def changes(records: Sequence[Pruning], statistic: str, rankings: Sequence[str]) -> dict[str, np.ndarray]:
    """A statistic at every fraction minus unpruned, {title of the ranking: (R, F)} for R records; empty without."""
    titles = {prune.TITLES[known(ranking)]: ranking for ranking in rankings}
    return {
        title: np.stack([_change(r, statistic, name) for r in records]) for title, name in titles.items() if records
    }


def class_changes(records: Sequence[Pruning], ranking: str) -> dict[str, np.ndarray]:
    """Change of the UCE of each class by pruning, {"FRI", "FRII": (R, F)} in points; empty without records."""
    metric, ranking = {"FRI": "uce_fri_percent", "FRII": "uce_frii_percent"}, known(ranking)
    return {name: np.stack([_change(r, m, ranking) for r in records]) for name, m in metric.items() if records}


def _change(record: Pruning, statistic: str, ranking: str) -> np.ndarray:
    curve = np.array([STATISTICS[statistic](logits, record.labels) for logits in record.logits[ranking]])
    return curve - curve[0]


def unpruned(records: Sequence[Pruning], statistic: str) -> str:
    """The mean of a statistic over the unpruned networks and its range over seeds, as text; "not run" without any."""
    if not records:
        return "not run"
    values = [STATISTICS[statistic](r.at("snr", 0.0), r.labels) for r in records]
    return f"{np.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def logits_at(records: Sequence[Pruning], fraction: float) -> dict[str, list[np.ndarray]]:
    """Unpruned and pruned test logits for ``tables.differences``, {title: [(S, N, 2), ...]}; one array per record."""
    place(fraction)
    pruned = {prune.TITLES[ranking]: [r.at(ranking, fraction) for r in records] for ranking in prune.TITLES}
    return {"unpruned": [r.at("snr", 0.0) for r in records]} | pruned


def counts_by_layer(records: Sequence[Pruning]) -> dict[str, np.ndarray]:
    """Histograms of the SNR, {layer: (R, B)}: all fully-connected weights together, then each tensor of them."""
    if not records:
        return {}
    names = [name for name in records[0].counts if name.startswith("fc")]
    by_name = {name.removesuffix(".weight"): np.stack([r.counts[name] for r in records]) for name in names}
    return {"all": sum(by_name.values())} | by_name


def mean_regimes(records: Sequence[Pruning]) -> dict[str, dict[str, float]]:
    """Shares of the weights in each regime by layer, averaged over records; see ``prune.regimes``."""
    found = [r.content["regimes"] for r in records if r.content["regimes"]]
    if not found:
        return {}
    return {
        layer.removesuffix(".weight"): {k: float(np.mean([f[layer][k] for f in found])) for k in prune.REGIMES}
        for layer in found[0]
    }


def savings_table(records: Sequence[Pruning]) -> str:
    """File sizes and times of ``savings``, averaged over records, as Markdown."""
    if not records:
        return "Not run."
    titles = {
        "dense_bytes": "dense file [kB]",
        "sparse_bytes": "sparse file [kB]",
        "dense_ms": "dense layers [ms]",
        "sparse_ms": "sparse layers [ms]",
        "network_ms": "whole network [ms]",
    }
    rows = []
    for i, fraction in enumerate(SAVED_AT):
        mean = {k: np.mean([r.content["savings"][i][k] for r in records]) for k in titles}
        sizes = [f"{mean[k] / 1000:.0f}" for k in titles if k.endswith("bytes")]
        rows.append([f"{100 * fraction:.0f}", *sizes, *(f"{mean[k]:.3g}" for k in titles if k.endswith("ms"))])
    return tables.markdown(["pruned [%]", *titles.values()], rows)


def differences_table(records: Sequence[Pruning], fraction: float) -> str:
    """Every ranking at ``fraction`` minus unpruned, with paired 95 % intervals, as Markdown."""
    place(fraction)
    if not records:
        return "Not run."
    return tables.differences(logits_at(records, fraction), records[0].labels)

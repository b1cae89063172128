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
from radio_bnn.inference import prune
from radio_bnn.model.inputs import network_input
from radio_bnn.model.priors import make_prior
from radio_bnn.paper import tables
from radio_bnn.paper.contrasts import Comparison, Side
from radio_bnn.runs import execute
from radio_bnn.runs.records import Posterior, Record, check_galaxies, expect, expect_names, find
from radio_bnn.seeds import generator

FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999)
SAVED_AT = (0.0, 0.3, 0.6, 0.9, 0.95)
SAVINGS = ("fraction", "dense_bytes", "sparse_bytes", "dense_ms", "sparse_ms", "network_ms")
SAMPLES = 50
FISHER_DRAWS = 10
REPEATS = 31


class Pruning(Record):
    """What pruning does to the posterior of a run.

    Arrays: difference_<ranking> (F, S, N) float16, logits of FRI minus of FRII of the test galaxies, for the
    ``FRACTIONS``, by every ranking of ``prune.IMPORTANCE``, those of ``prune.OPTIONAL`` only where the posterior had
    their source; labels (N,) uint8 with 0 FRI, 1 FRII; galaxy (N,) uint16, the place of each galaxy among the names of
    its data set in ascending order; counts_<weight tensor> (B,) uint32, weights per bin of the SNR in dB.
    """

    kind = "pruning"

    @property
    def rankings(self) -> list[str]:
        """The rankings that are stored."""
        return self.content["rankings"]

    @property
    def logits(self) -> dict[str, np.ndarray]:
        """Test logits with the stored differences by ranking, {ranking: (F, S, N, 2) float64}; equal in every score."""
        return {name: _logits(self.arrays[f"difference_{name}"]) for name in self.rankings}

    @property
    def labels(self) -> np.ndarray:
        """The labels of the test galaxies (N,), int64."""
        return self.arrays["labels"].astype(np.int64)

    @property
    def galaxies(self) -> np.ndarray:
        """Which galaxies they are (N,)."""
        return self.arrays["galaxy"]

    @property
    def counts(self) -> dict[str, np.ndarray]:
        """Weights per bin of the SNR by weight tensor, {name: (B,)}."""
        return {name: self.arrays[f"counts_{name}"] for name in self.content["tensors"]}

    def at(self, ranking: str, fraction: float) -> np.ndarray:
        """The test logits (S, N, 2) with ``fraction`` pruned by ``ranking``; ValueError for what is not stored."""
        if known(ranking) not in self.rankings:
            raise ValueError(
                f"ranking={ranking!r} is not stored of {self.identity}: its posterior did not hold Adam's second moment"
            )
        return _logits(self.arrays[f"difference_{ranking}"][place(fraction)])

    def check(self) -> None:
        """Raise ValueError or KeyError unless rankings, fractions, shapes and galaxies are whole and fit."""
        if tuple(self.content["fractions"]) != FRACTIONS:
            raise ValueError(f"its fractions are {self.content['fractions']}, expected {list(FRACTIONS)}")
        if self.rankings != [n for n in prune.IMPORTANCE if n in self.rankings or n not in prune.OPTIONAL]:
            raise ValueError(f"its rankings are {self.rankings}, expected {list(prune.IMPORTANCE)}")
        differences, tensors = [f"difference_{name}" for name in self.rankings], self.content["tensors"]
        expect_names(self.arrays, [*differences, *(f"counts_{name}" for name in tensors), "labels", "galaxy"])
        labels, galaxies = self.arrays["labels"], self.arrays["galaxy"]
        check_galaxies(self, {"test": labels})
        expect("galaxy", galaxies, (len(labels),), np.uint16)
        if len(np.unique(galaxies)) != len(labels):
            raise ValueError("galaxy names a galaxy twice")
        for name in differences:
            expect(name, self.arrays[name], (len(FRACTIONS), self.content["samples"], len(labels)), np.float16)
        for name, counts in self.counts.items():
            expect(f"counts_{name}", counts, (len(prune.DECIBEL_EDGES) - 1,), np.uint32)
        expect_names(self.content["agreement_with_snr"], [name for name in self.rankings if name != "snr"])
        if not self.content["fisher"]["galaxies"] >= 1:
            raise ValueError("fisher.galaxies, the number of training galaxies, must be at least 1")
        if [row["fraction"] for row in self.content["savings"]] != list(SAVED_AT):
            raise ValueError(f"its savings are not those at {list(SAVED_AT)}")
        for row in self.content["savings"]:
            expect_names(row, SAVINGS)
        for shares in (self.content["regimes"] or {}).values():
            expect_names(shares, prune.REGIMES)


def _logits(difference: np.ndarray) -> np.ndarray:
    """Logits (..., 2), float64, with these differences (...), those of class 1 being 0."""
    return np.stack([difference, np.zeros_like(difference)], axis=-1).astype(np.float64)


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
    posterior draws. Forwards are in float32 whatever the precision of the run. Raises ValueError for a method that has
    no posterior.
    """
    config = posterior.config
    started = time.perf_counter()
    with execute.one_thread():
        splits, model = execute.load_data(config), execute.network(posterior)
        if not (q := prune.frozen(model)):
            raise ValueError(f"method={config.method!r} has no posterior to prune: use method='vi'")
        rankings = _rankings(posterior, model, splits)
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
    content |= {"rankings": list(logits), "tensors": list(counts), "regimes": _regimes(config, q)} | measured
    arrays = {f"difference_{name}": (x[..., 0] - x[..., 1]).astype(np.float16) for name, x in logits.items()}
    arrays |= {f"counts_{name}": values.astype(np.uint32) for name, values in counts.items()}
    scored = execute.made_arrays({"test": logits["snr"][0]}, splits)
    return Pruning(config, content, arrays | {"labels": scored["labels_test"], "galaxy": scored["galaxy_test"]})


def _regimes(config: Config, q: prune.Posterior) -> dict[str, dict[str, float]] | None:
    """Defined for a Gaussian prior only."""
    return (
        prune.regimes(q, make_prior("gaussian", scale=config.prior_scale).scale) if config.prior == "gaussian" else None
    )


def _rankings(posterior: Posterior, model: nn.Module, splits: Splits) -> dict[str, prune.Importance]:
    seed, q = posterior.config.seed, prune.frozen(model)
    x = network_input(splits["train"].images, dtype=q["fc1.weight"].mean.dtype)
    fisher = prune.fisher_information(model, x, draws=FISHER_DRAWS, generator=generator(seed, "fisher"))
    moment = {k: torch.exp2(torch.from_numpy(v.astype(np.float32))) for k, v in posterior.second_moment.items()}
    return prune.importances(q, fisher, moment, generator=generator(seed, "random ranking"))


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


# Read, over folds


def _by_fold(records: Sequence[Pruning]) -> list[list[Pruning]]:
    """The repeats of every fold, in the order in which the folds appear.

    Raises ValueError if the repeats of a fold score different galaxies.
    """
    folds: dict[int | None, list[Pruning]] = {}
    for record in records:
        folds.setdefault(record.config.fold, []).append(record)
    for fold, (first, *others) in folds.items():
        if not all(np.array_equal(first.galaxies, other.galaxies) for other in others):
            raise ValueError(f"the records of fold {fold} score different galaxies: they cannot be paired")
    return list(folds.values())


def logits_by_fold(records: Sequence[Pruning], ranking: str, fraction: float) -> list[list[np.ndarray]]:
    """For every fold its networks' logits (S, N_f, 2), one for each repeat, as ``crossval.pooled`` takes them."""
    return [[record.at(ranking, fraction) for record in repeats] for repeats in _by_fold(records)]


def labels_by_fold(records: Sequence[Pruning]) -> list[np.ndarray]:
    """The labels (N_f,) of every fold."""
    return [repeats[0].labels for repeats in _by_fold(records)]


def nll_rises(records: Sequence[Pruning], ranking: str) -> list[np.ndarray]:
    """Of every fold, each galaxy's NLL at each of the FRACTIONS minus unpruned, (F, N_f) nats; the mean of repeats."""
    return [np.mean([_nll_rise(record, ranking) for record in repeats], axis=0) for repeats in _by_fold(records)]


def _nll_rise(record: Pruning, ranking: str) -> np.ndarray:
    nll = np.stack([METRICS["nll"].checked_columns(record.at(ranking, f), record.labels)[0] for f in FRACTIONS])
    return nll - nll[0]


def test_share(records: Sequence[Pruning]) -> float:
    """Test galaxies over training galaxies, the mean of the records."""
    return float(np.mean([len(r.labels) / r.content["fisher"]["galaxies"] for r in records]))


# Compare


def _uce_fri_minus_frii() -> Metric:
    fri, frii = METRICS["uce_fri_percent"], METRICS["uce_frii_percent"]
    return Metric(fri.columns, lambda *columns: fri.reduce(*columns) - frii.reduce(*columns))


STATISTICS: dict[str, Metric] = METRICS | {"uce_fri_minus_frii_percent": _uce_fri_minus_frii()}


def stored_rankings(records: Sequence[Pruning], rankings: Sequence[str] = tuple(prune.TITLES)) -> list[str]:
    """Those of ``rankings`` that all records hold; none without records. Raises ValueError for an unknown one."""
    return [ranking for ranking in map(known, rankings) if records and all(ranking in r.rankings for r in records)]


def changes(records: Sequence[Pruning], statistic: str, rankings: Sequence[str]) -> dict[str, np.ndarray]:
    """A statistic at every fraction minus unpruned, {title of the ranking: (R, F)} for R records.

    A ranking that a record lacks is left out; empty without records.
    """
    found = stored_rankings(records, rankings)
    return {prune.TITLES[name]: np.stack([_change([r], statistic, name) for r in records]) for name in found}


def pooled_changes(records: Sequence[Pruning], statistic: str, rankings: Sequence[str]) -> dict[str, np.ndarray]:
    """As ``changes``, of the galaxies of all folds together, {title of the ranking: (F,)}; the mean of repeats."""
    found = stored_rankings(records, rankings)
    return {prune.TITLES[name]: _change(records, statistic, name) for name in found}


def class_changes(records: Sequence[Pruning], ranking: str) -> dict[str, np.ndarray]:
    """Change of the UCE of each class by pruning, {"FRI", "FRII": (R, F)} in points; empty without records."""
    metric = {"FRI": "uce_fri_percent", "FRII": "uce_frii_percent"}
    return {name: found for name, m in metric.items() for found in changes(records, m, [ranking]).values()}


def _change(records: Sequence[Pruning], statistic: str, ranking: str) -> np.ndarray:
    curve = np.array([_pooled(records, statistic, ranking, fraction) for fraction in FRACTIONS])
    return curve - curve[0]


def _pooled(records: Sequence[Pruning], statistic: str, ranking: str, fraction: float) -> float:
    """A statistic of the galaxies of all folds together, the mean of repeats."""
    labels = np.concatenate(labels_by_fold(records))
    repeats = zip(*logits_by_fold(records, ranking, fraction), strict=True)
    return float(np.mean([STATISTICS[statistic](np.concatenate(logits, axis=1), labels) for logits in repeats]))


def unpruned(records: Sequence[Pruning], statistic: str) -> str:
    """A statistic of the unpruned networks, all galaxies together, and its range over them; "not run" without any."""
    if not records:
        return "not run"
    values = [_pooled([r], statistic, "snr", 0.0) for r in records]
    return f"{_pooled(records, statistic, 'snr', 0.0):.3g} ({min(values):.3g} to {max(values):.3g})"


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


def compared(records: Sequence[Pruning], *at: tuple[str, str, float]) -> Comparison:
    """Sides of contrasts from triples of a name, a ranking and a fraction; one record per fold."""
    labels, galaxies = [r.labels for r in records], [r.galaxies for r in records]
    sides = {name: Side([r.at(ranking, f) for r in records], labels, galaxies) for name, ranking, f in at}
    return Comparison(sides, test_share(records))


def rise(records: Sequence[Pruning], ranking: str, fraction: float) -> str | None:
    """The rise of the pooled NLL with its 95 % interval, in words; None without records."""
    if not records:
        return None
    found = compared(records, ("pruned", ranking, fraction), ("whole", "snr", 0.0))
    return f"{found.interval('nll', pruned=1.0, whole=-1.0):+.3f}"


def rises_table(
    records: Sequence[Pruning],
    fractions: Sequence[float] = (0.3, 0.6, 0.9, 0.95, 0.99),
    rankings: Sequence[str] = ("snr", "fisher", "magnitude", "random"),
) -> str:
    """The rise of the pooled NLL by ranking (columns) and pruned share (rows), with 95 % intervals, as Markdown."""
    rows = []
    for f in fractions if records else ():
        rows.append([f"{100 * f:g}", *(rise(records, name, f).replace(" ", tables.NO_BREAK) for name in rankings)])
    return tables.markdown(["pruned [%]", *(prune.TITLES[name] for name in rankings)], rows)


def differences_table(records: Sequence[Pruning], fraction: float) -> str:
    """Every ranking at ``fraction`` minus unpruned over the folds, with 95 % intervals, as Markdown."""
    place(fraction)
    if not records:
        return "Not run."
    rows = []
    for ranking in stored_rankings(records):
        found, row = compared(records, ("pruned", ranking, fraction), ("whole", "snr", 0.0)), [prune.TITLES[ranking]]
        for statistic, spec in tables.DIFFERENCES.values():
            interval = found.interval(statistic, pruned=1.0, whole=-1.0)
            row.append(tables.unbroken(interval, spec))
        rows.append(row)
    return tables.markdown(["minus unpruned", *tables.DIFFERENCES], rows)

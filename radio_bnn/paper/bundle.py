"""Make the posteriors that come with the package: prune, check on held-out galaxies, calibrate, and say what they are.

``python -m radio_bnn.paper.bundle`` makes ``radio_bnn/sky/posteriors.npz`` and its .json of the records of the eight
folds, and the tables of the model card. It needs MiraBest, and about a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from radio_bnn import pool
from radio_bnn.config import Config, run_id
from radio_bnn.data.galaxies import Galaxies
from radio_bnn.evaluation import resampling
from radio_bnn.evaluation.metrics import METRICS
from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.evaluation.shift import spread_of, squared_distance
from radio_bnn.files import CHECKOUT
from radio_bnn.inference import prune
from radio_bnn.model.inputs import network_input
from radio_bnn.paper import experiments, model_card
from radio_bnn.progress import bar
from radio_bnn.runs import execute
from radio_bnn.runs.records import Posterior, Run, find
from radio_bnn.seeds import generator
from radio_bnn.sky import posteriors
from radio_bnn.sky.judgement import SETS, Judgement, judge, predictions
from radio_bnn.sky.posteriors import VIEWS, Ensemble, Network

DRAWS = 25  # of each network; the facts say what more of them would change
MANY = 200
FRACTIONS = (0.0, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
QUANTILES = {"median": 0.5, "q95": 0.95}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the bundle of one temperature; exit status 1 with one line on stderr if that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m radio_bnn.paper.bundle", description=__doc__)
    parser.add_argument("--temperature", type=float, default=experiments.BEST, metavar="T", help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes, one thread each (default: 1)")
    parser.add_argument("--out", type=Path, default=posteriors.FILE, metavar="FILE", help="default: the package's own")
    asked = parser.parse_args(arguments)
    try:
        ensemble = build(group(asked.temperature), workers=asked.workers, progress=True)
        posteriors.write(ensemble, asked.out)
        if asked.out == posteriors.FILE:
            model_card.write(CHECKOUT / "book")
    except (ValueError, OSError) as error:
        print(f"bundle: error: {error}", file=sys.stderr)
        return 1
    print(f"{asked.out}: {asked.out.stat().st_size / 1e6:.2f} MB, T = {asked.temperature:g}")
    return 0


def group(temperature: float) -> list[Config]:
    """The eight runs of the chapters' protocol with the Gaussian prior at this temperature."""
    paths = experiments.paths()
    if temperature not in paths:
        raise ValueError(f"temperature={temperature:g} is not in the plan: choose one of {', '.join(map(str, paths))}")
    return paths[temperature]


def build(configs: Sequence[Config], *, workers: int = 1, progress: bool = False) -> Ensemble:
    """The ensemble of these runs, one for each fold. Raises ValueError if a record is missing."""
    records = [_records(config) for config in configs]
    work = [(k, run, posterior) for k, (run, posterior) in enumerate(records)]
    jobs = [pool.Job(str(each[0]), _network, (each,)) for each in work]
    made = pool.in_order(jobs, workers) if workers > 1 else map(_network, work)
    networks, compression = zip(*bar(made, total=len(work), desc="fold", show=progress), strict=True)
    facts = {"what": _what(configs), "provenance": _provenance(records), "compression": list(compression)}
    facts |= {"held_out": _held_out(networks), "draws": _draws([run for run, _ in records])}
    ensemble = Ensemble(networks, facts)
    return Ensemble(networks, facts | {"never_trained_on": _never_trained_on(ensemble, configs)})


def _records(config: Config) -> tuple[Run, Posterior]:
    run, posterior = find(config), find(config, Posterior)
    for found, kind in ((run, "run"), (posterior, "posterior")):
        if found is None:
            raise ValueError(f"there is no {kind} record of {run_id(config)}, fold {config.fold}: radio-bnn sweep path")
    return run, posterior


# Of one network


def _network(work: tuple[int, Run, Posterior]) -> tuple[Network, dict[str, Any]]:
    """The network of one fold, and what its compact form costs."""
    number, run, record = work
    splits, model = execute.load_data(run.config), execute.network(record)
    test, train = splits["test"], splits["train"]
    with execute.one_thread():
        q, facts, many = compress(model, test.images, seed=run.config.seed)
    differences = {}
    for view in VIEWS:
        logits, features = predictions(q, test.images, number=number, draws=DRAWS, view=view)
        differences[view] = (logits[..., 0] - logits[..., 1]).astype(np.float16)
    _, trained = predictions(q, train.images, number=number, draws=1)
    spread = spread_of(trained.astype(float), train.labels)
    distance = squared_distance(spread, features.astype(float))
    network = Network(q, differences, test.labels, run.galaxies["test"], spread, distance)
    nll = {str(len(x)): _rounded(METRICS["nll"](x, test.labels)) for x in (network.logits("upright"), many)}
    return network, facts | {"nll_by_draws": nll}


def compress(model: nn.Module, images: np.ndarray, *, seed: int) -> tuple[prune.Posterior, dict[str, Any], np.ndarray]:
    """The posterior of a network without the largest of FRACTIONS of fully-connected weights that nobody misses.

    By signal-to-noise. The median and the 95 % quantile of |change of p| of held-out ``images`` by pruning, with the
    same draws, must be smaller than between two sets of MANY draws. Also what was measured, and logits (MANY, N, 2).
    """
    q, rankings = prune.frozen(model), {"snr": prune.signal_to_noise(prune.frozen(model))}
    x = network_input(images, dtype=q["fc1.weight"].mean.dtype)

    def of(which: str, fractions: Sequence[float]) -> np.ndarray:
        noise = generator(seed, f"{which} draws")
        return prune.predict_pruned(model, rankings, x, fractions, samples=MANY, generator=noise, progress=False)["snr"]

    pruned = dict(zip(FRACTIONS, of("first", FRACTIONS), strict=True))
    between = _quantiles(pruned[0.0], of("second", [0.0])[0])
    change = {fraction: _quantiles(pruned[0.0], logits) for fraction, logits in pruned.items()}
    chosen = max(f for f, found in change.items() if f == 0 or all(found[k] < between[k] for k in QUANTILES))
    facts = {"fraction": chosen, "change_by_pruning": change[chosen], "change_by_draws": between}
    return prune.prune(q, rankings["snr"], chosen), facts, pruned[chosen]


def _quantiles(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    change = np.abs(predictive_mean(a) - predictive_mean(b))[:, 0]
    return {name: _rounded(np.quantile(change, level)) for name, level in QUANTILES.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


# Of all


def _what(configs: Sequence[Config]) -> dict[str, Any]:
    first = configs[0]
    same = {"prior", "prior_scale", "temperature", "path", "likelihood", "objective", "epochs", "precision", "method"}
    values = {name: value for name, value in first.to_dict().items() if name in same}
    return values | {"folds": [c.fold for c in configs], "draws": DRAWS, "classes": ["FRI", "FRII"]}


def _provenance(records: Sequence[tuple[Run, Posterior]]) -> dict[str, Any]:
    config = records[0][0].config
    made = execute.provenance(config, device="cpu", seconds=0)
    own = {name: made[name] for name in ("version", "commit", "torch", "numpy")}
    shas = sorted({run.content["provenance"]["data_sha256"] for run, _ in records})
    if len(shas) != 1:
        raise ValueError(f"the runs were trained on {len(shas)} different data sets, {', '.join(shas)}")
    runs = [{"run": run.identity, "posterior": posterior.identity} for run, posterior in records]
    for row, (run, _) in zip(runs, records, strict=True):
        row["commit"] = run.content["provenance"]["commit"]
    return own | {"data_sha256": shas[0], "records": runs}


def _held_out(networks: Sequence[Network]) -> dict[str, Any]:
    """Scores of the single networks on the galaxies that each was not trained on, all folds together, by view."""
    labels, found = np.concatenate([n.labels for n in networks]), {}
    for view in VIEWS:
        summary = resampling.summarise(np.concatenate([n.logits(view) for n in networks], axis=1), labels)
        found[view] = {name: {k: _rounded(v) for k, v in summary[name].items()} for name in model_card.SCORES}
    return {"galaxies": len(labels), "scores": found}


def _draws(runs: Sequence[Run]) -> dict[str, Any]:
    """How far DRAWS of each network are from all that are stored: |change of the ensemble's p| of uncertain galaxies.

    Of those that all networks scored, by the networks as they were trained.
    """
    shared = reduce(np.intersect1d, [run.galaxies["uncertain"] for run in runs])
    every = [run.logits_of("uncertain")[:, np.isin(run.galaxies["uncertain"], shared)] for run in runs]
    few, many = (np.concatenate([x[:n] for x in every]) for n in (DRAWS, None))
    return {"few": DRAWS, "many": len(every[0]), "galaxies": len(shared), "change": _quantiles(few, many)}


def _never_trained_on(ensemble: Ensemble, configs: Sequence[Config]) -> dict[str, Any]:
    """What the ensemble makes of the galaxies that no network was trained on: uncertain ones and hybrids."""
    galaxies = execute.load_data(configs[0]).galaxies
    hybrid = galaxies.morphology == 3
    sets = {"uncertain": ~hybrid & ~galaxies.confident, "hybrid": hybrid}
    return {name: _met(ensemble, galaxies[chosen]) for name, chosen in sets.items()}


def _met(ensemble: Ensemble, galaxies: Galaxies) -> dict[str, Any]:
    judged: list[Judgement] = []
    for start in range(0, len(galaxies), 64):
        judged += judge(ensemble, galaxies.images[start : start + 64])
    said = np.array([j.label for j in judged])
    shares = {label: _rounded(100 * np.mean(said == label)) for label in SETS.values()}
    unlike = _rounded(100 * np.mean([j.unlike_training for j in judged]))
    facts = {"galaxies": len(judged), "label_percent": shares, "unlike_training_percent": unlike}
    if (galaxies.morphology == 3).any():
        return facts
    wrong = np.array([j.p_frii > 0.5 for j in judged]) != (galaxies.labels == 1)
    covered = [label in ("ask", ("FRI", "FRII")[y]) for label, y in zip(said, galaxies.labels, strict=True)]
    return facts | {"error_percent": _rounded(100 * wrong.mean()), "covered_percent": _rounded(100 * np.mean(covered))}


if __name__ == "__main__":
    sys.exit(main())

"""Which records are missing, what must be trained for them, and how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from radio_bnn.config import ORBITS, Config, run_id
from radio_bnn.runs import records, sealed

MIRABEST_GALAXIES = Config().simulated_galaxies
# Galaxies trained on, over MiraBest's 584 confident ones of a fold; of those that come as they are at most.
TRAINED_ON = {"confident": 1.0, "labelled": 1.58, "all": 1.63}
AS_THEY_COME = 1.5


def missing(wanted: Sequence[tuple[Config, str]], folder: Path) -> list[tuple[Config, str]]:
    """What ``folder`` does not hold of the records ``wanted``, pairs (config, kind): in order, each once.

    Nothing is missing of a training of which it holds that it diverged.
    """
    items = {(records.identity(config, kind), kind): (config, kind) for config, kind in wanted}
    lacking = [item for (name, kind), item in items.items() if not records.path_of(folder, kind, name).exists()]
    return [(config, kind) for config, kind in lacking if not records.ended(config, folder)]


def untrained(lacking: Sequence[tuple[Config, str]]) -> list[Config]:
    """The runs that must be trained for the records ``lacking``, pairs (config, kind), each once.

    A record of another kind than "run" is measured on the posterior of the training, so it needs that, however many
    samples a run stores of it.
    """
    predicted = {run_id(c.trained) for c, kind in lacking if kind == records.Run.kind}
    runs = {}
    for c, kind in lacking:
        if kind == records.Run.kind or not (
            run_id(c.trained) in predicted or records.at_hand(c, records.Posterior.kind)
        ):
            runs.setdefault(run_id(c if kind == records.Run.kind else c.trained), c)
    return list(runs.values())


def expected_seconds(configs: Sequence[Config]) -> float | None:
    """How long training ``configs`` takes, one after the other: as their records took, or as like ones did per galaxy.

    A run that is not stored, or not readably, counts as its work, galaxies x epochs x forwards per step, times the
    median time per work of the book's records in its precision. None if there is no such record.
    """
    rates: dict[str, list[float]] = {}
    for path in sorted(records.committed_folder().glob("*.json")):
        if (found := _timed(path)) is not None:
            config, seconds = found
            rates.setdefault(config.precision, []).append(seconds / work(config))
    total = 0.0
    for config in configs:
        places = [
            records.path_of(folder, records.Run.kind, run_id(config))
            for folder in (records.committed_folder(), records.cached_folder())
        ]
        if known := next(filter(None, map(_timed, places)), None):
            total += known[1]
        elif config.precision in rates:
            total += median(rates[config.precision]) * work(config)
        else:
            return None
    return total


def _timed(path: Path) -> tuple[Config, float] | None:
    """Config and wall time in seconds of a run; None for what is no record of one."""
    try:
        values = sealed.parsed(path)
        config, content = records.claimed(path, values, records.Run.kind)
        records.check_seal(path, values)
        return config, float(content["provenance"]["wall_seconds"])
    except Exception:  # whatever a damaged or foreign file provokes; `read` says so to whoever asks for it
        return None


def work(config: Config) -> float:
    """What training costs, in galaxies x ``passes``.

    Galaxies: those of the data set, times how many more are trained on than the confident ones of MiraBest's shares.
    """
    galaxies = MIRABEST_GALAXIES if config.data == "mirabest" else config.simulated_galaxies
    galaxies *= AS_THEY_COME if config.population == "voted" else TRAINED_ON[config.train_on]
    return galaxies * passes(config)


def passes(config: Config) -> int:
    """How often a training passes its galaxies through a network: epochs x forwards per step x networks."""
    forwards = (1 if config.objective == "elbo" else 2) * (8 if config.likelihood in ORBITS else 1)
    networks = config.members if config.method == "ensemble" else 1
    return config.epochs * forwards * networks

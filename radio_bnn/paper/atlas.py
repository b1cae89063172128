"""The galaxies that every training gets wrong, and what a ruler without a network says of them.

Every confident galaxy is judged by the networks of its own fold, one for each training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from radio_bnn.config import N_FOLDS
from radio_bnn.data import mirabest
from radio_bnn.data.folds import Catalogue, catalogue
from radio_bnn.data.galaxies import CLASSES
from radio_bnn.evaluation import crossval
from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.evaluation.resampling import Interval, exact_interval
from radio_bnn.model.priors import TITLES
from radio_bnn.paper import contrasts, experiments, readings, survey, tables
from radio_bnn.paper.contrasts import Comparison, Side
from radio_bnn.paper.prose import Finding
from radio_bnn.runs.records import Run

FR = ("FRI", "FRII")
GROUPS = ("never", "sometimes", "always")


def trainings() -> dict[str, list[Run]]:
    """The ways of training that are stored on all folds and never guess, {title: runs}."""
    found = {_heated(t): group for t, group in experiments.paths().items()}
    found |= {TITLES[name]: group for name, group in experiments.priors().items() if name != "gaussian"}
    found |= experiments.matched() | experiments.baselines()
    stored = contrasts.along(found)
    return {
        t: runs
        for t, runs in stored.items()
        if len(runs) == N_FOLDS and None not in runs and not readings.guessing(runs)
    }


def _heated(temperature: float) -> str:
    return f"{TITLES['gaussian']}, T = {temperature:g}"


def at(groups: Mapping[str, Sequence[Run]], temperature: float) -> tuple[str, Sequence[Run]]:
    """Title and runs of the training with the Gaussian prior at T. Raises ValueError if it is not among the groups."""
    title = _heated(temperature)
    if title not in groups:
        known = [f"{t:g}" for t in experiments.TEMPERATURES if _heated(t) in groups]
        raise ValueError(
            f"temperature={temperature:g}: no such training learns on all folds; choose {', '.join(known)}"
        )
    return title, groups[title]


def warmest(groups: Iterable[str]) -> float:
    """The highest temperature of the Gaussian prior among trainings by their titles."""
    return max(t for t in experiments.TEMPERATURES if _heated(t) in groups)


class Judged(NamedTuple):
    """``places`` (N,) of the galaxies in the catalogue, ``labels`` (N,), and ``p`` (K, N), P(label) by training."""

    places: np.ndarray
    labels: np.ndarray
    p: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """How many of the K trainings give the galaxy the other class, (N,)."""
        return (self.p < 0.5).sum(axis=0)

    @property
    def p_frii(self) -> np.ndarray:
        """P(FRII), the mean of the trainings, (N,)."""
        mean = self.p.mean(axis=0)
        return np.where(self.labels == 1, mean, 1 - mean)

    def group(self, name: str) -> np.ndarray:
        """The galaxies that are ``never``, ``sometimes`` or ``always`` wrong, (N,) boolean."""
        never, always = self.wrong == 0, self.wrong == len(self.p)
        return {"never": never, "sometimes": ~never & ~always, "always": always}[name]


def judged(groups: Mapping[str, Sequence[Run]]) -> Judged:
    """What the trainings say of every galaxy that all of them judge, in the order of the catalogue.

    Raises ValueError without a training, or where two trainings judge other galaxies.
    """
    if not groups:
        raise ValueError("no training is stored on all folds: make the runs, as radio-bnn sweep path does")
    rows = [_by_galaxy(runs) for runs in groups.values()]
    places, labels, _ = rows[0]
    for title, (other, *_) in zip(groups, rows, strict=True):
        if not np.array_equal(places, other):
            raise ValueError(
                f"{title} judges other galaxies than {next(iter(groups))}: they cannot be counted together"
            )
    return Judged(places, labels, np.stack([p for *_, p in rows]))


def _by_galaxy(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = contrasts.side(runs)
    places, labels = np.concatenate(found.places).astype(int), np.concatenate(found.labels)
    p = np.concatenate([predictive_mean(logits) for logits in found.logits])[np.arange(len(labels)), labels]
    order = np.argsort(places)
    return places[order], labels[order], p[order]


# How often


def if_independent(found: Judged) -> np.ndarray:
    """Galaxies that k of K trainings get wrong if each errs as often as it does, but anywhere; k = 0..K, (K + 1,)."""
    chance = np.ones(1)
    for error in (found.p < 0.5).mean(axis=1):
        chance = np.convolve(chance, [1 - error, error])
    return len(found.labels) * chance


def counts(found: Judged) -> np.ndarray:
    """Galaxies that k of K trainings get wrong, k = 0..K, (K + 1,)."""
    return np.bincount(found.wrong, minlength=len(found.p) + 1)


def often_table(found: Judged) -> str:
    """By group and class: galaxies, their share of all errors, and medians of what the catalogue has, as Markdown."""
    shown, rows = _described(catalogue()), []
    for name in GROUPS:
        for label, title in enumerate(FR):
            chosen = found.group(name) & (found.labels == label)
            errors = 100 * found.wrong[chosen].sum() / found.wrong.sum()
            values = [
                f"{np.median(v[found.places[chosen]]):{spec}}" if chosen.any() else "–" for v, spec in shown.values()
            ]
            rows.append([f"{name}, {title}", chosen.sum(), f"{errors:.0f}", *values])
    return tables.markdown(["wrong", "galaxies", "of all errors [%]", *shown], rows)


def _described(table: Catalogue) -> dict[str, tuple[np.ndarray, str]]:
    known = survey.quantities(table)
    chosen = {title: known[title] for title in ("angular size [arcsec]", "redshift", "lit pixels")}
    return chosen | {"ratio on the image": (image_ratio(table), ".2f")}


# The ruler


def image_ratio(table: Catalogue) -> np.ndarray:
    """The Fanaroff-Riley ratio on the image alone, see ``ruler.measure``; (1256,)."""
    return table.peaks / np.where(table.extent > 0, table.extent, 1)


def catalogue_ratio(table: Catalogue) -> np.ndarray:
    """The distance of the brightest points on the image over the size that the labellers measured; (1256,)."""
    return table.peaks_in_size / table.size


RATIO, ON_THE_IMAGE = "ratio on the image", "ratio and extent on the image"
HOLDS_THE_LABEL = "distance of the peaks over the size of the catalogue"
# Title: what is measured, (1256,) each, of which a logistic regression makes a probability.
RULERS: dict[str, Callable[[Catalogue], Sequence[np.ndarray]]] = {
    "size of the catalogue": lambda table: [np.log(table.size)],
    RATIO: lambda table: [image_ratio(table)],
    ON_THE_IMAGE: lambda table: [image_ratio(table), np.log(np.maximum(table.extent, 1.0))],
    HOLDS_THE_LABEL: lambda table: [catalogue_ratio(table)],
}


def ruled(title: str, runs: Sequence[Run]) -> Side:
    """What a ruler says of the test galaxies of each fold, fitted to the confident galaxies of the other folds.

    The fit is a logistic regression without regularisation; logits are (1, N, 2) for each fold.
    """
    from sklearn.linear_model import LogisticRegression

    table = catalogue()
    x, y = np.stack(RULERS[title](table), axis=1), table.code // 100 - 1
    found = contrasts.side(runs)
    logits = []
    for run, places in zip(runs, found.places, strict=True):
        others = table.judged & (table.fold != run.config.fold)
        fitted = LogisticRegression(C=np.inf).fit(x[others], y[others])
        score = fitted.decision_function(x[places])
        logits.append(np.stack([np.zeros_like(score), score], axis=-1)[None])
    return Side(logits, found.labels, found.places)


def p_label(found: Side) -> np.ndarray:
    """P(label) of every galaxy of a side, in the order of the catalogue, (N,)."""
    order = np.argsort(np.concatenate(found.places))
    p = [predictive_mean(x)[np.arange(len(y)), y] for x, y in zip(found.logits, found.labels, strict=True)]
    return np.concatenate(p)[order]


METRICS = {"error [%]": ("error_percent", ".1f"), "NLL [nats]": ("nll", ".3f")}


def beside(runs: Sequence[Run], title: str) -> Comparison:
    """The networks, called ``title``, and every ruler on their test galaxies."""
    sides = {title: contrasts.side(runs)} | {name: ruled(name, runs) for name in RULERS}
    return Comparison(sides, contrasts.test_share(runs))


def ruler_table(held: Comparison) -> str:
    """Error and NLL of the networks and of every ruler ``beside`` them, and of each minus the networks, as Markdown."""
    networks, rows = next(iter(held.sides)), []
    for name in held.sides:
        alone = [tables.foldable(held.interval(m, **{name: 1.0}), s) for m, s in METRICS.values()]
        minus = ["–"] * 2 if name == networks else [tables.foldable(*found) for found in _minus(held, name)]
        rows.append([name, *alone, *minus])
    return tables.markdown(["judged by", *METRICS, "minus the networks [points]", "minus the networks [nats]"], rows)


def _minus(held: Comparison, name: str) -> list[tuple[Interval, str]]:
    """Error and NLL of a side minus those of the networks, each with its format."""
    pair = {name: 1.0, next(iter(held.sides)): -1.0}
    return [(held.interval(metric, **pair), f"+{spec}") for metric, spec in METRICS.values()]


def spoken(held: Comparison, name: str) -> dict[str, str]:
    """Error and NLL of a ruler, of the networks, and their difference, in words by name."""
    networks = next(iter(held.sides))
    (error, *form), (nll, *other) = _minus(held, name)
    alone = {n: held.interval("error_percent", **{side: 1.0}) for n, side in (("ruler", name), ("network", networks))}
    return {f"{n}_error": f"{interval:.1f}" for n, interval in alone.items()} | {
        "ruler_nll": f"{held.interval('nll', **{name: 1.0}):.3f}",
        "ruler_minus_error": f"{error:{form[0]}}",
        "ruler_minus_nll": f"{nll:{other[0]}}",
    }


def finding(held: Comparison, found: Judged) -> Finding:
    """What the first page says of the ruler, and of the galaxies that are always wrong."""
    said, always = spoken(held, ON_THE_IMAGE), found.group("always")
    (_, low, high), _ = _minus(held, ON_THE_IMAGE)[1]
    how = "better than" if high < 0 else "less well than" if low > 0 else "as well as"
    share = 100 * found.wrong[always].sum() / found.wrong.sum()
    return Finding(
        f"**Two lengths on the image classify {how} the network** ([the atlas](atlas.ipynb), all folds). A ruler after"
        f" Fanaroff and Riley, {fitted(ON_THE_IMAGE)} numbers fitted, errs on {said['ruler_error']} % of the held-out"
        f" galaxies, the networks at the temperature of lowest NLL on {said['network_error']} %; the NLL differs by"
        f" {said['ruler_minus_nll']} nats. {always.sum()} of {len(always)} galaxies are wrong under all {len(found.p)}"
        f" trainings that learn, and hold {share:.0f} % of all errors."
    )


def lowest_error(groups: Mapping[str, Sequence[Run]]) -> tuple[str, Comparison]:
    """The training that errs least often, and the rulers ``beside`` its networks."""
    found = judged(groups)
    title = list(groups)[int(np.argmin((found.p < 0.5).mean(axis=1)))]
    return title, beside(groups[title], title)


def fitted(title: str) -> int:
    """How many numbers the fit of a ruler has."""
    return 1 + len(RULERS[title](catalogue()))


def ranks(title: str, members: np.ndarray | None = None) -> Interval:
    """AUROC with which a ruler's first measure tells FRII from FRI among ``members`` (1256,), default the confident."""
    table = catalogue()
    chosen = table.judged if members is None else members
    x, y = RULERS[title](table)[0][chosen], table.code[chosen] // 100 - 1
    low, high = x[y == 0], x[y == 1]
    ids = [np.flatnonzero(chosen)[y == 1]]
    return crossval.ranking([low], [high], ids, test_share=0.0).interval()


def says_other(found: Judged, p: np.ndarray, name: str, label: int) -> Interval:
    """In how many of a group's galaxies of a class a ruler's P(label) says the other class, percent."""
    chosen = found.group(name) & (found.labels == label)
    return exact_interval(int((p[chosen] < 0.5).sum()), int(chosen.sum()))


def other_table(found: Judged, p: Mapping[str, np.ndarray]) -> str:
    """How often each ruler by its P(label) says the other class, by group and class, in percent, as Markdown."""
    rows = []
    for name in GROUPS:
        for label, title in enumerate(FR):
            n = (found.group(name) & (found.labels == label)).sum()
            cells = [tables.foldable(says_other(found, of, name, label), ".0f") if n else "–" for of in p.values()]
            rows.append([f"{name}, {title}", n, *cells])
    return tables.markdown(["wrong", "galaxies", *p], rows)


def in_size(label: int) -> float:
    """The median over the confident galaxies of a class of ``catalogue_ratio``."""
    table = catalogue()
    return float(np.median(catalogue_ratio(table)[table.judged & (table.code // 100 == label + 1)]))


# The list


def listed(found: Judged, p: np.ndarray) -> np.ndarray:
    """The galaxies that are always wrong, as indices (M,): those that a ruler also calls wrong, then the surest error.

    ``p`` (N,) is the ruler's P(label).
    """
    always = np.flatnonzero(found.group("always"))
    return always[np.lexsort([found.p.mean(axis=0)[always], p[always] >= 0.5])]


def list_table(found: Judged, p: Mapping[str, np.ndarray], order: np.ndarray) -> str:
    """One row for each galaxy of ``order``: what the catalogue, the trainings and the rulers ``p`` say, as Markdown."""
    table, rows = catalogue(), []
    for i in order:
        k = found.places[i]
        span = tables.span(list(found.p[:, i]), ".2f").replace(" ", tables.NO_BREAK)
        measured = [f"{table.size[k]:.0f}", f"{table.redshift[k]:.2f}"]
        says = ["agrees" if of[i] >= 0.5 else "other" for of in p.values()]
        rows.append([mirabest.designation(table.name[k]), CLASSES[int(table.code[k])], *measured, span, *says])
    return tables.markdown(["galaxy", "label", "size [arcsec]", "z", "P(label)", *p], rows)


def captions(found: Judged, order: np.ndarray) -> list[str]:
    """A title for the image of each galaxy of ``order``: designation, label, and the mean P(label) of the trainings."""
    names, mean = catalogue().name[found.places], found.p.mean(axis=0)
    return [f"{mirabest.title(names[i]).replace(' confident,', ',')}\nP(label) = {mean[i]:.2f}" for i in order]


def images(found: Judged, order: np.ndarray) -> np.ndarray:
    """The images (M, H, W) of galaxies, which need MiraBest."""
    galaxies = mirabest.load(data_seed=0).galaxies
    at = {name: i for i, name in enumerate(galaxies.name)}
    return galaxies.images[[at[name] for name in catalogue().name[found.places[order]]]]

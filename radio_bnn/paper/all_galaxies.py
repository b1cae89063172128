"""Every galaxy of MiraBest: its label, and what networks that were not trained on it predict, as one catalogue.

``python -m radio_bnn.paper.all_galaxies`` makes it of stored records: a file in ECSV, and the sentences of its page.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from radio_bnn.data import mirabest
from radio_bnn.data.folds import Catalogue, catalogue
from radio_bnn.data.galaxies import CLASSES
from radio_bnn.evaluation.conformal import conformal_sets
from radio_bnn.evaluation.predictive import mutual_information, predictive_entropy, predictive_mean, softmax
from radio_bnn.files import CHECKOUT, replacing
from radio_bnn.paper import atlas, doubted, experiments
from radio_bnn.paper.contrasts import DOUBTED, TRUSTED
from radio_bnn.paper.evidence import PROMISED, calibrating
from radio_bnn.paper.tables import NO_BREAK
from radio_bnn.runs.records import Run

if TYPE_CHECKING:
    from astropy.table import Table

FILE, WORDS = "mirabest_predictions.ecsv", "all_galaxies.md"  # in the book's _generated
ALPHA = round(1 - PROMISED, 6)
SETS = (TRUSTED, DOUBTED, doubted.HYBRID)
CONFORMAL = ("none", "FRI", "FRII", "ask")  # by the members of a set: FRI counts 1, FRII 2
HYBRID, NO_NUMBER = 2, -1  # the class of a hybrid, which no prediction contradicts


class Column(NamedTuple):
    """A column of the catalogue: what it holds, its unit as astropy writes it, how many decimals are kept."""

    description: str
    unit: str | None = None
    decimals: int | None = None


COLUMNS = {
    "name": Column("Position in hours, minutes, degrees and arcminutes, truncated; three names come twice"),
    "mirabest_name": Column("Name in MiraBest, unique: class code, position, redshift, largest angular size"),
    "ra": Column("Right ascension, J2000, from MiraBest", "deg", 3),
    "dec": Column("Declination, J2000, from MiraBest", "deg", 3),
    "redshift": Column("Redshift, from MiraBest", decimals=4),
    "size": Column("Largest angular size as the labellers measured it, from MiraBest", "arcsec", 2),
    "label": Column("Class by the humans who labelled it: FRI, FRII, hybrid"),
    "confidence": Column("Whether they were confident: confident, uncertain"),
    "subclass": Column("Their subclass, for FRI and FRII"),
    "fold": Column("The one of the eight folds that the galaxy belongs to"),
    "n_networks": Column("Networks behind p_frii: its own fold's for a confident galaxy, else all that may judge it"),
    "p_frii": Column("Held-out probability of FRII: mean over all posterior draws of these networks", decimals=4),
    "p_frii_low": Column("2.5 % quantile of the probability of FRII over these draws", decimals=4),
    "p_frii_high": Column("97.5 % quantile of the probability of FRII over these draws", decimals=4),
    "predictive_entropy": Column("Entropy of p_frii, in nats, at most ln 2", decimals=4),
    "mutual_information": Column("Part of it on which the draws disagree, in nats", decimals=4),
    "conformal": Column(
        "Classes in the conformal sets of at least half of these networks: FRI, FRII, ask (both), none"
    ),
    "n_against": Column("How many of the trainings that learn give the other class than the label; not for hybrids"),
    "p_frii_min": Column("Smallest p_frii among the trainings that learn", decimals=4),
    "p_frii_max": Column("Largest p_frii among the trainings that learn", decimals=4),
    "ruler_against": Column("Whether the peaks' distance over size, a ruler without a network, gives the other class"),
    "candidate": Column("Confident, and all trainings that learn give the other class: candidate for a wrong label"),
}


# What networks say of galaxies that they were not trained on


def held_out(runs: Sequence[Run]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which galaxies each network was not trained on, (N,), and its logits of them, (S, N, 2), set by set."""
    for run in runs:
        for scored in SETS:
            yield run.galaxies[scored].astype(int), run.logits_of(scored)


def p_frii(runs: Sequence[Run]) -> np.ndarray:
    """P(FRII) of every galaxy, the mean of the networks that were not trained on it, (1256,).

    Raises ValueError where a galaxy has none.
    """
    total, networks = np.zeros((2, len(catalogue().name)))
    for places, logits in held_out(runs):
        total[places] += predictive_mean(logits)[:, 1]
        networks[places] += 1
    if not networks.all():
        raise ValueError(f"{(networks == 0).sum()} galaxies are held out by none of {len(runs)} runs: give all folds")
    return total / networks


def by_galaxy(runs: Sequence[Run]) -> dict[str, np.ndarray]:
    """How many networks were not trained on each galaxy, and what all their draws together say, {column: (1256,)}.

    The draws of all these networks are one predictive distribution, so that its mutual information counts what the
    networks disagree on as well.
    """
    draws: list[list[np.ndarray]] = [[] for _ in catalogue().name]
    for places, logits in held_out(runs):
        for place, own in zip(places, logits.swapaxes(0, 1), strict=True):
            draws[place].append(own)
    together = [np.concatenate(own)[:, None] for own in draws]
    low, high = np.transpose([np.quantile(softmax(x)[:, 0, 1], (0.025, 0.975)) for x in together])
    return {
        "n_networks": np.array([len(own) for own in draws]),
        "p_frii_low": low,
        "p_frii_high": high,
        "predictive_entropy": np.concatenate([predictive_entropy(x) for x in together]),
        "mutual_information": np.concatenate([mutual_information(x) for x in together]),
    }


def conformal_words(runs: Sequence[Run], *, alpha: float) -> np.ndarray:
    """Every galaxy's conformal set in one of the words CONFORMAL, (1256,).

    A class is a member where it is in the sets of at least half of the networks that were not trained on the galaxy,
    each calibrated on its own validation galaxies. The set of a confident galaxy is that of its own fold's network,
    with its guarantee of 1 - alpha; of several networks that leaves 1 - 2 alpha, for galaxies like the confident ones.
    """
    votes, networks = np.zeros((len(catalogue().name), 2)), np.zeros(len(catalogue().name))
    for run in runs:
        for places, logits in held_out([run]):
            votes[places] += conformal_sets(calibrating(run), logits, alpha=alpha)
            networks[places] += 1
    members = votes >= networks[:, None] / 2
    return np.array(CONFORMAL)[members @ (1, 2)]


def against(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many of K trainings give the other class than the label, (N,); NO_NUMBER for a hybrid. ``p`` (K, N)."""
    p_label = np.where(labels == 1, p, 1 - p)
    return np.where(labels == HYBRID, NO_NUMBER, (p_label < 0.5).sum(axis=0))


# The catalogue


def order(candidates: np.ndarray, ra: np.ndarray) -> np.ndarray:
    """All galaxies (N,), the ``candidates`` first as they come, then the others by right ascension ``ra`` (N,)."""
    others = np.argsort(ra, kind="stable")
    return np.concatenate([candidates, others[~np.isin(others, candidates)]])


def columns(groups: Mapping[str, Sequence[Run]], temperature: float = experiments.BEST) -> dict[str, np.ndarray]:
    """The values of COLUMNS, (1256,) each, candidates for a wrong label first, in the order of ``atlas.listed``.

    ``groups``: ``atlas.trainings``. The prediction shown is that of the Gaussian prior at ``temperature``; a candidate
    is a confident galaxy that all groups contradict. Raises ValueError where a training that is needed is not stored.
    """
    known, found, (_, runs) = catalogue(), atlas.judged(groups), atlas.at(groups, temperature)
    labels, each = known.code // 100 - 1, np.stack([p_frii(of) for of in groups.values()])
    p_ruler = atlas.p_label(atlas.ruled(atlas.HOLDS_THE_LABEL, runs))
    candidates = found.places[atlas.listed(found, p_ruler)]
    ruler = np.ma.masked_all(len(labels), bool)
    ruler[found.places] = p_ruler < 0.5
    facts = _facts(known)
    values = facts | by_galaxy(runs)
    values |= {"fold": known.fold, "p_frii": p_frii(runs), "conformal": conformal_words(runs, alpha=ALPHA)}
    values |= {"n_against": np.ma.masked_equal(against(each, labels), NO_NUMBER), "ruler_against": ruler}
    values |= {"p_frii_min": each.min(axis=0), "p_frii_max": each.max(axis=0)}
    values["candidate"] = np.isin(np.arange(len(labels)), candidates)
    sorted_rows = order(candidates, facts["ra"])
    return {name: values[name][sorted_rows] for name in COLUMNS}


def _facts(known: Catalogue) -> dict[str, np.ndarray]:
    """What MiraBest itself says of its galaxies."""
    parts = [mirabest.NAME.fullmatch(f"{name}.png") for name in known.name]
    said = [CLASSES[code].partition(", ") for code in known.code]
    label, confidence = np.transpose([words.split() for words, _, _ in said])
    subclass = np.array([sub for _, _, sub in said])
    return {
        "name": np.array([mirabest.designation(name) for name in known.name]),
        "mirabest_name": known.name,
        "ra": np.array([float(part["ra"]) for part in parts]),
        "dec": np.array([float(part["dec"]) for part in parts]),
        "redshift": known.redshift,
        "size": known.size,
        "label": label,
        "confidence": confidence,
        "subclass": np.ma.masked_equal(subclass, ""),
    }


def provenance(groups: Mapping[str, Sequence[Run]], temperature: float = experiments.BEST) -> dict[str, Any]:
    """Where the numbers of the catalogue come from: the data, and every record by its identity."""
    shown, runs = atlas.at(groups, temperature)
    return {
        "title": "Held-out predictions for all galaxies of MiraBest",
        "made_by": "python -m radio_bnn.paper.all_galaxies",
        "predictions_of": f"{shown}, one network for each of {len(runs)} folds",
        "draws_per_network": len(runs[0].arrays[f"difference_{TRUSTED}"]),
        "conformal_alpha": ALPHA,
        "trainings_that_learn": {title: [run.identity for run in of] for title, of in groups.items()},
        "data": {
            "name": "MiraBest, Porter & Scaife 2023, from the FIRST survey, Becker, White & Helfand 1995",
            "doi": "10.5281/zenodo.4288837",
            "file": mirabest.F_BATCHES.file,
            "checksum": mirabest.F_BATCHES.checksum,
        },
        "caution": "A label that is contradicted is a candidate for a wrong one, to be looked at by people. Uncertain"
        " and hybrid galaxies are unlike those that calibrated the conformal sets: nothing is guaranteed for them.",
    }


def table(groups: Mapping[str, Sequence[Run]], temperature: float = experiments.BEST) -> Table:
    """The catalogue with units, descriptions and ``provenance``; as ECSV, ``QTable.read`` reads it."""
    from astropy.table import Column as Values
    from astropy.table import MaskedColumn, Table

    made = columns(groups, temperature)
    found = Table(meta=provenance(groups, temperature))
    for name, values in made.items():
        about = COLUMNS[name]
        kept = values if about.decimals is None else np.round(values, about.decimals) + 0.0  # no negative zero
        kind = MaskedColumn if np.ma.isMaskedArray(kept) else Values
        found[name] = kind(kept, unit=about.unit, description=about.description)
    return found


# The page


def words(found: Table) -> str:
    """What the page says in numbers, as a Markdown list."""
    fr, sure = found["label"] != "hybrid", found["confidence"] == "confident"
    first, trainings = found[found["candidate"]], found.meta["trainings_that_learn"]
    fri, frii = ((first["label"] == name).sum() for name in atlas.FR)
    judged, uncertain = (fr & sure).sum(), fr & ~sure
    fewer = (uncertain & (found["n_networks"] < len(next(iter(trainings.values()))))).sum()
    return f"""\
- **{len(first)} candidates for a wrong label come first**, {fri} FRI and {frii} FRII: of the {judged} confident
  galaxies those whose label all {len(trainings)} trainings that learn contradict, in each of them by a network that was
  not trained on the galaxy. For {first["ruler_against"].sum()} of them, at the top, the labellers' own size
  contradicts it too, by a ruler without a network.
- The trainings that learn: {_listed(trainings)}.
  Trainings that guess, such as those with the mixture priors, contradict nothing and are not counted.
- Each of the {judged} confident galaxies is held out once, by one of the eight folds. No network here is trained on the
  {uncertain.sum()} uncertain galaxies and the {(~fr).sum()} hybrids, so that each has up to eight predictions. They are
  combined as one distribution: the draws of all these networks together, whose mean is the probability shown, and whose
  disagreement counts as mutual information. {fewer} uncertain galaxies overlap a confident one on the sky, and only
  networks that were not trained on that one judge them.
- The probabilities are those of *{found.meta["predictions_of"]}*, with {found.meta["draws_per_network"]} posterior
  draws each: the temperature of lowest NLL on validation galaxies among those at which every network learns.
"""


def _listed(trainings: Mapping[str, Any]) -> str:
    """The trainings in one phrase, the temperatures of the Gaussian prior together."""
    heated, start = [title.partition("T = ") for title in trainings], "Gaussian, "
    at = [t for before, _, t in heated if before == start]
    others = [title for title, (before, _, _) in zip(trainings, heated, strict=True) if before != start]
    said = [f"the Gaussian prior at T{NO_BREAK}={NO_BREAK}{', '.join(at)}", *others]
    return f"{'; '.join(said[:-1])}; and {said[-1]}"


def texts(groups: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """Both files of the page by name: equal records give equal bytes."""
    found, lines = table(groups), io.StringIO()
    found.write(lines, format="ascii.ecsv", delimiter=",")
    return {FILE: lines.getvalue(), WORDS: words(found)}


def main(book: Path = CHECKOUT / "book") -> int:
    """Write both files anew and name the catalogue; 1 where the records are not at hand, and nothing is written."""
    try:
        made = texts(atlas.trainings())
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    for name, text in made.items():
        with replacing(book / "_generated" / name) as partial:
            partial.write_text(text, encoding="utf-8")
    print(f"_generated/{FILE} holds every galaxy of MiraBest")
    return 0


if __name__ == "__main__":
    sys.exit(main())

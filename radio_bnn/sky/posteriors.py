"""The networks that come with the package: a compact posterior for each fold, and what calibrates its word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.evaluation.shift import Spread
from radio_bnn.files import replacing
from radio_bnn.inference.prune import Posterior, compact, restored

FILE = Path(__file__).with_name("posteriors.npz")
SCHEMA = 1
VIEWS = {"upright": "categorical", "orbit": "orbit_probs"}
"""How a network looks at an image, by name: the likelihood whose forward does it."""


@dataclass(frozen=True, eq=False)
class Network:
    """The network of one fold: its pruned ``posterior`` and what it makes of the n galaxies that it was not trained on.

    difference {view: (S, n)}: logits of FRI minus of FRII of S draws, float16; labels (n,), 0 FRI, 1 FRII; galaxy (n,),
    places among the names of MiraBest in ascending order; spread: of the last features of its training galaxies;
    distance (n,): the squared distance of the held-out galaxies' features from it.
    """

    posterior: Posterior
    difference: Mapping[str, np.ndarray]
    labels: np.ndarray
    galaxy: np.ndarray
    spread: Spread
    distance: np.ndarray

    def logits(self, view: str) -> np.ndarray:
        """Logits (S, n, 2) with the stored differences, those of FRII being 0."""
        difference = self.difference[view].astype(float)
        return np.stack([difference, np.zeros_like(difference)], axis=-1)

    def scores(self, view: str) -> np.ndarray:
        """1 - p of the true class of each held-out galaxy, (n,)."""
        return 1 - predictive_mean(self.logits(view))[np.arange(len(self.labels)), self.labels]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks that classify together; ``facts`` says what they are, JSON-able, and ``sha256`` which file they are."""

    networks: Sequence[Network]
    facts: Mapping[str, Any]
    sha256: str = ""

    @property
    def draws(self) -> int:
        """How many draws each network makes: as many as it made of its held-out galaxies."""
        return len(self.networks[0].difference["upright"])

    @cached_property
    def scores(self) -> dict[str, list[np.ndarray]]:
        """The networks' ``scores``, by view."""
        return {view: [network.scores(view) for network in self.networks] for view in VIEWS}


def write(ensemble: Ensemble, path: Path = FILE) -> None:
    """Write the arrays as ``path``, an .npz, and beside it a .json with facts and sha256; each atomically."""
    arrays = {f"{k}.{n}": values for k, net in enumerate(ensemble.networks) for n, values in _arrays(net).items()}
    packed = BytesIO()
    np.savez_compressed(packed, **arrays)
    stated = {"schema": SCHEMA, "sha256": hashlib.sha256(packed.getvalue()).hexdigest(), "facts": ensemble.facts}
    stated["digest"] = _digest(stated)
    with replacing(path.with_suffix(".json")) as text, replacing(path) as binary:
        binary.write_bytes(packed.getvalue())
        text.write_text(json.dumps(stated, indent=1, allow_nan=False) + "\n")


def read(path: str | Path = FILE) -> Ensemble:
    """The networks in ``path``, an .npz with its .json beside it. No code is run that either may hold.

    Raises ValueError for files that are not as they were written, OSError for missing ones.
    """
    path = Path(path)
    content = path.read_bytes()
    stated = facts_of(path)
    if hashlib.sha256(content).hexdigest() != stated["sha256"]:
        raise ValueError(f"{path} is not the file that was written: its sha256 differs. Install radio_bnn again")
    with np.load(BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    numbers = sorted({int(name.partition(".")[0]) for name in arrays})
    own = [{n.partition(".")[2]: x for n, x in arrays.items() if n.startswith(f"{k}.")} for k in numbers]
    return Ensemble([_network(x) for x in own], stated["facts"], stated["sha256"])


def facts_of(path: str | Path = FILE) -> dict[str, Any]:
    """What the .json beside ``path`` states, checked: schema, sha256 of the arrays, facts. Errors as of ``read``."""
    path = Path(path).with_suffix(".json")
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        digest, schema = stated.pop("digest"), stated["schema"]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} does not describe posteriors ({error!r}). Install radio_bnn again") from error
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema!r}, this version reads {SCHEMA}. Install radio_bnn again")
    if digest != _digest(stated):
        raise ValueError(f"{path} is not as it was written: its digest differs. Install radio_bnn again")
    return stated


def _digest(stated: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def _arrays(network: Network) -> dict[str, np.ndarray]:
    arrays = {f"posterior.{name}": values for name, values in compact(network.posterior).items()}
    arrays |= {f"difference.{view}": values.astype(np.float16) for view, values in network.difference.items()}
    arrays |= {f"spread.{part}": values.astype(np.float32) for part, values in network.spread._asdict().items()}
    arrays |= {"labels": network.labels.astype(np.uint8), "galaxy": network.galaxy.astype(np.uint16)}
    return arrays | {"distance": network.distance.astype(np.float32)}


def _network(arrays: Mapping[str, np.ndarray]) -> Network:
    def part(name: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(f"{name}."): x for key, x in arrays.items() if key.startswith(f"{name}.")}

    spread = Spread(**{name: values.astype(float) for name, values in part("spread").items()})
    kept = {name: arrays[name] for name in ("labels", "galaxy", "distance")}
    return Network(restored(part("posterior")), part("difference"), spread=spread, **kept)

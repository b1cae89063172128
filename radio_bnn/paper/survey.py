"""What MiraBest's catalogue says of its two classes: angular size, redshift, and physical size."""

from __future__ import annotations

import numpy as np

from radio_bnn.data.folds import Catalogue
from radio_bnn.evaluation.resampling import Interval, percentiles
from radio_bnn.paper import tables

CLASSES = {"FRI": 1, "FRII": 2}
RESAMPLES = 2000


def physical_size(size: np.ndarray, redshift: np.ndarray) -> np.ndarray:
    """Proper length in kpc of an angle ``size`` in arcsec at ``redshift``, in the Planck 2018 cosmology; (N,) each."""
    from astropy.cosmology import Planck18

    return size / 60 * Planck18.kpc_proper_per_arcmin(redshift).value


def quantities(table: Catalogue) -> dict[str, tuple[np.ndarray, str]]:
    """What is compared of every galaxy, with a format, by title."""
    return {
        "angular size [arcsec]": (table.size, ".0f"),
        "redshift": (table.redshift, ".3f"),
        "physical size [kpc]": (physical_size(table.size, table.redshift), ".0f"),
        "lit pixels": (table.lit_pixels.astype(float), ".0f"),
    }


def medians(values: np.ndarray, members: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Median of ``values[members]``, and of RESAMPLES resamples of them, (1 + RESAMPLES,)."""
    chosen, rng = values[members], np.random.default_rng(seed)
    again = rng.choice(chosen, (RESAMPLES, len(chosen)))
    return np.concatenate([[np.median(chosen)], np.median(again, axis=1)])


def with_interval(found: np.ndarray) -> Interval:
    """The first number with the 95 % interval of the others."""
    return percentiles(float(found[0]), found[1:], 0.95)


def ratio(table: Catalogue, values: np.ndarray) -> Interval:
    """Median of the FRI over that of the FRII galaxies, confident ones, with its 95 % interval."""
    fri, frii = (medians(values, of_class(table, name), seed=place) for place, name in enumerate(CLASSES))
    return with_interval(fri / frii)


def of_class(table: Catalogue, name: str) -> np.ndarray:
    """The confident galaxies of a class, (1256,) boolean."""
    return table.judged & (table.code // 100 == CLASSES[name])


def size_table(table: Catalogue) -> str:
    """Medians of the confident galaxies of each class and their ratio, with 95 % intervals, as Markdown."""
    rows = []
    for title, (values, spec) in quantities(table).items():
        each = [with_interval(medians(values, of_class(table, name))) for name in CLASSES]
        shown = [tables.unbroken(found, spec) for found in each]
        rows.append([title, *shown, tables.unbroken(ratio(table, values), ".2f")])
    return tables.markdown(["median", *CLASSES, "ratio"], rows)

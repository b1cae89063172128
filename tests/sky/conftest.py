"""Small posteriors and cutouts that the tests of this folder share."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from radio_bnn.config import Config
from radio_bnn.evaluation.shift import spread_of
from radio_bnn.inference import prune
from radio_bnn.inference.vi import network
from radio_bnn.seeds import generator
from radio_bnn.sky import posteriors
from radio_bnn.sky.posteriors import VIEWS, Ensemble, Network

DRAWS, HELD_OUT = 2, 24
HEADER = fits.Header(
    {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 150.5, "CRPIX2": 150.5, "CRVAL1": 10.0, "CRVAL2": 20.0}
    | {"CDELT1": -1.8 / 3600, "CDELT2": 1.8 / 3600, "CUNIT1": "deg", "CUNIT2": "deg", "BUNIT": "JY/BEAM"}
)


def toy_network(number: int) -> Network:
    """An untrained network without half of its weights, and made-up predictions of 24 galaxies."""
    rng, q = np.random.default_rng(number), prune.frozen(network(Config.preview(), generator(number, "init")))
    q = prune.prune(q, prune.signal_to_noise(q), 0.5)
    labels = np.arange(HELD_OUT) % 2
    difference = {view: (rng.normal(0, 2, (DRAWS, HELD_OUT)) + 2 - 4 * labels).astype(np.float16) for view in VIEWS}
    spread = spread_of(rng.exponential(size=(60, 84)), np.arange(60) % 2)
    distance = rng.uniform(100, 1000, HELD_OUT).astype(np.float32)
    return Network(prune.restored(prune.compact(q)), difference, labels, np.arange(HELD_OUT), spread, distance)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """A file of two toy networks."""
    path = tmp_path_factory.mktemp("bundle") / "posteriors.npz"
    posteriors.write(Ensemble([toy_network(0), toy_network(1)], {"what": {"temperature": 0.5}}), path)
    return path


@pytest.fixture(scope="session")
def ensemble(bundle) -> Ensemble:
    return posteriors.read(bundle)


@pytest.fixture
def cutouts(tmp_path) -> list[Path]:
    """Five FITS cutouts of noise with spots; the second is no FITS file at all, the fourth has no signal."""
    folder = tmp_path / "cutouts"
    folder.mkdir()
    paths = [folder / f"galaxy_{i}.fits" for i in range(5)]
    for i, path in enumerate(paths):
        rng = np.random.default_rng(i)
        image = rng.normal(size=(300, 300)).astype(np.float32)
        for y, x in rng.integers(120, 180, (2 + i % 2, 2)):
            image[y : y + 6, x : x + 6] += 40.0
        image = np.zeros_like(image) if i == 3 else image
        fits.PrimaryHDU(image, HEADER).writeto(path)
    paths[1].write_bytes(b"not a FITS file")
    return paths

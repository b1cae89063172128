"""The same galaxy on other pixels keeps its probability: the change is far below what the networks differ by."""

import numpy as np
from astropy.io import fits
from scipy.ndimage import map_coordinates

from radio_bnn.data import simulate
from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.sky import posteriors
from radio_bnn.sky.judgement import predictions
from radio_bnn.sky.sources import sources

GALAXIES, DRAWS = 12, 5


def cutouts(monkeypatch, seed: int) -> dict[float, np.ndarray]:
    """A simulated galaxy by its pixels, 1.8 and 1.5 arcsec: sources in closed form on both, the noise by a spline."""
    code, coarse = (100, 200)[seed % 2], np.zeros((300, 300))
    observed = simulate.draw_cutout(code, seed=seed)
    with monkeypatch.context() as patch:
        patch.setattr(simulate, "render", lambda components: coarse)
        noise = simulate.draw_cutout(code, seed=seed)
    with monkeypatch.context() as patch:
        for name, value in {"PIXEL_ARCSEC": 1.5, "CUTOUT_SIZE": 360, "draw_noise": lambda rng: 0.0}.items():
            patch.setattr(simulate, name, value)
        sources_alone = simulate.draw_cutout(code, seed=seed)
    at = (np.arange(360) - 179.5) * 1.5 / 1.8 + 149.5
    fine = map_coordinates(noise.astype(float), np.meshgrid(at, at, indexing="ij"), order=5, mode="nearest")
    return {1.8: observed, 1.5: sources_alone + fine}


def saved(folder, scale: float, pixels: np.ndarray) -> None:
    plane = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 30.0}
    middle = {"CRPIX1": (len(pixels) + 1) / 2, "CRPIX2": (len(pixels) + 1) / 2}
    steps = {"CDELT1": -scale / 3600, "CDELT2": scale / 3600}
    path = folder / f"{scale}" / f"{len(list((folder / f'{scale}').iterdir())):02d}.fits"
    fits.PrimaryHDU(pixels.astype("f4"), fits.Header(plane | middle | steps)).writeto(path)


def test_from_other_pixels_the_probability_changes_less_than_the_networks_differ(tmp_path, monkeypatch):
    for scale in (1.8, 1.5):
        (tmp_path / f"{scale}").mkdir()
    for seed in range(GALAXIES):
        for scale, pixels in cutouts(monkeypatch, seed).items():
            saved(tmp_path, scale, pixels)
    found = {scale: list(sources(tmp_path / f"{scale}")) for scale in (1.8, 1.5)}
    assert all("resampled" in source.flags for source in found[1.5])
    assert not any("resampled" in source.flags for source in found[1.8])
    of = {}
    for scale, some in found.items():
        images = np.stack([source.image for source in some])
        each = [
            predictions(network.posterior, images, number=k, draws=DRAWS)[0]
            for k, network in enumerate(posteriors.read().networks)
        ]
        of[scale] = np.stack([predictive_mean(logits)[:, 0] for logits in each])
    change, differ = abs(of[1.5].mean(0) - of[1.8].mean(0)), of[1.8].std(0, ddof=1)
    assert len(change) == GALAXIES and (of[1.8] != of[1.5]).any()
    assert np.median(change) < 0.1 * np.median(differ) and np.mean(change < differ) > 0.9

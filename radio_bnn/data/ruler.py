"""Fanaroff and Riley's ruler: the ratio by which they divided radio galaxies in 1974, measured on an image.

The ratio is the distance between the brightest points on the two sides of the galaxy over its whole extent; theirs is
an FRI below one half, an FRII above. It is measured on the network's input, without any fitting and without a label. A
compact core counts here, which they left out: on images of few beams across, the brightest part of an FRI is near it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from radio_bnn.data.galaxies import PIXEL_ARCSEC

MIN_ISLAND = 8  # pixels; about the area of the beam, so that smaller islands are noise
LINK_ARCSEC = 30.0  # islands nearer than this are one source
EIGHT = np.ones((3, 3))  # pixels that touch at a corner are one island


class Ruler(NamedTuple):
    """``peaks``, the distance between the brightest points of the two sides, and ``extent``, in arcsec."""

    peaks: float
    extent: float

    @property
    def ratio(self) -> float:
        """The Fanaroff-Riley ratio, 0..1; 0 without any source."""
        return self.peaks / self.extent if self.extent else 0.0


def islands(image: np.ndarray) -> np.ndarray:
    """The pixels above 0 in islands of at least MIN_ISLAND pixels, (H, W) boolean."""
    found, n = label(np.asarray(image) > 0, structure=EIGHT)
    area = np.bincount(found.ravel(), minlength=n + 1)
    area[0] = 0
    return area[found] >= MIN_ISLAND


def source(image: np.ndarray, *, link: float = LINK_ARCSEC) -> np.ndarray:
    """The pixels of the source at the centre, (H, W) boolean: the island nearest to it and all that are linked with it.

    Islands less than ``link`` arcsec apart are linked. None is True where the image has no island.
    """
    lit = islands(image)
    if not lit.any():
        return lit
    grown, _ = label(distance_transform_edt(~lit) < link / PIXEL_ARCSEC / 2, structure=EIGHT)
    nearest = np.argmin(np.where(lit, np.linalg.norm(_from_centre(lit.shape), axis=-1), np.inf))
    return lit & (grown == grown.flat[nearest])


def measure(image: np.ndarray, *, within: float | None = None, link: float = LINK_ARCSEC) -> Ruler:
    """The ruler laid along the flux-weighted principal axis of the ``source`` of an image (H, W), pixels of 1.8 arcsec.

    With ``within``, of all that is lit within so many arcsec of the centre. The sides meet at the centre, where the
    survey's cutout has the host galaxy, or in the middle of the extent where all light is on one side of it.
    """
    away = _from_centre(np.shape(image)) * PIXEL_ARCSEC
    found = source(image, link=link) if within is None else _lit_within(image, away, within)
    if not found.any():
        return Ruler(0.0, 0.0)
    place, flux = away[found], np.asarray(image, np.float64)[found]
    spread = place - flux @ place / flux.sum()
    along = place @ np.linalg.eigh((spread * flux[:, None]).T @ spread)[1][:, -1]
    first, last = along.min(), along.max()
    extent = float(last - first) + PIXEL_ARCSEC
    one = along > (0.0 if first < 0 < last else (first + last) / 2)
    if one.all() or not one.any():
        return Ruler(0.0, extent)
    brightest = [place[side][flux[side].argmax()] for side in (one, ~one)]
    return Ruler(min(float(np.linalg.norm(brightest[0] - brightest[1])), extent), extent)


def _lit_within(image: np.ndarray, away: np.ndarray, arcsec: float) -> np.ndarray:
    return (np.asarray(image) > 0) & (np.linalg.norm(away, axis=-1) <= arcsec)


def _from_centre(shape: tuple[int, ...]) -> np.ndarray:
    """Where every pixel is from the centre of the image, (H, W, 2)."""
    return np.stack(np.indices(shape), axis=-1) - (np.array(shape) - 1) / 2

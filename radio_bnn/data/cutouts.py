"""A FIRST cutout becomes the network's input exactly as MiraBest's images were made (Porter & Scaife 2023)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from radio_bnn.data.galaxies import IMAGE_SIZE, PIXEL_ARCSEC

RAW_SIZE = 300
N_SIGMA = 3
FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz")


def read_cutout(path: str | Path) -> np.ndarray:
    """A cutout file as an image like those of MiraBest, (150, 150) uint8.

    FITS (also gzipped, degenerate axes allowed) and 8-bit greyscale PNG of at least 300 x 300 pixels at 1.8"/pixel go
    through ``preprocess``; a 150 x 150 PNG counts as preprocessed and is taken as it is.
    Raises ``FileNotFoundError``, or ``ValueError`` for what is not such an image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a FITS or PNG cutout")
    suffix = path.suffix.lower()
    if not path.name.lower().endswith((*FITS_SUFFIXES, ".png")):
        raise ValueError(f"{path}: {suffix or 'no suffix'} is not a known image type; expected .fits, .fits.gz or .png")
    try:
        raw = _read_png(path) if suffix == ".png" else _read_fits(path)
        if suffix == ".png" and raw.shape == (IMAGE_SIZE, IMAGE_SIZE):
            return _with_signal(raw)
        return preprocess(raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def preprocess(raw: np.ndarray) -> np.ndarray:
    """Brightness (H, W) to pixels (150, 150) uint8: the last of ``preprocessing_steps``."""
    return preprocessing_steps(raw)["scaled"]


def preprocessing_steps(raw: np.ndarray) -> dict[str, np.ndarray]:
    """Every stage from a cutout to the network's input, in order.

    ``raw`` (300, 300), brightness in any unit, NaN where nothing was observed; of a larger image its central 300 x 300.
    ``clipped`` (300, 300): x where x > 3 s, else 0, with s the sigma-clipped standard deviation of the finite pixels.
    ``cropped`` (150, 150): the centre. ``masked``: 0 farther than 75 pixels from pixel (75, 75).
    ``scaled`` uint8: floor(255 (x - min) / (max - min)) inside that circle, 0 outside.
    Raises ``ValueError`` for an image that is not 2-D, too small, without finite pixels or without signal above 3 s.
    """
    raw = _centre(_checked(raw), RAW_SIZE)
    clipped = _clip(raw)
    cropped = _centre(clipped, IMAGE_SIZE)
    circle = circular_mask()
    masked = np.where(circle, cropped, 0.0)
    scaled = np.where(circle, _rescale(masked[circle], masked), 0).astype(np.uint8)
    return {"raw": raw, "clipped": clipped, "cropped": cropped, "masked": masked, "scaled": scaled}


def circular_mask() -> np.ndarray:
    """True within 75 pixels of pixel (75, 75); (150, 150) bool."""
    radius = IMAGE_SIZE // 2
    y, x = np.ogrid[:IMAGE_SIZE, :IMAGE_SIZE]
    return (y - radius) ** 2 + (x - radius) ** 2 <= radius**2


def _checked(raw: np.ndarray) -> np.ndarray:
    raw = np.asarray(raw, dtype=np.float64)
    if raw.ndim != 2:
        raise ValueError(f"the image has axes {raw.shape}, expected two (rows, columns)")
    if min(raw.shape) < RAW_SIZE:
        raise ValueError(
            f"the image is {raw.shape[0]} x {raw.shape[1]} pixels, expected at least {RAW_SIZE} x {RAW_SIZE}"
        )
    if np.isinf(raw).any():
        raise ValueError("some pixels are infinite; expected finite brightness, or NaN where nothing was observed")
    return raw


def _centre(image: np.ndarray, size: int) -> np.ndarray:
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def _clip(raw: np.ndarray) -> np.ndarray:
    from astropy.stats import sigma_clipped_stats

    missing = np.isnan(raw)
    if missing.all():
        raise ValueError("every pixel is NaN: the survey did not observe this position")
    std = sigma_clipped_stats(raw[~missing], sigma=3, maxiters=5)[2]
    observed = np.where(missing, 0.0, raw)
    return np.where(observed > N_SIGMA * std, observed, 0.0)


def _rescale(inside: np.ndarray, image: np.ndarray) -> np.ndarray:
    low, high = inside.min(), inside.max()
    if low == high:
        raise ValueError(f"no signal above {N_SIGMA} sigma within {IMAGE_SIZE // 2} pixels of the centre")
    return 255 * (image - low) / (high - low)


def _with_signal(image: np.ndarray) -> np.ndarray:
    if image.min() == image.max():
        raise ValueError(f"every pixel is {image.flat[0]}: there is nothing to classify")
    return image


def _read_fits(path: Path) -> np.ndarray:
    """Pixels of the first image in a FITS file, degenerate axes (Stokes, frequency) removed, (H, W) float64."""
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers, and about a truncation that becomes an error below
            with fits.open(path, memmap=False) as hdus:
                data, header = next(((hdu.data, hdu.header) for hdu in hdus if hdu.is_image and hdu.size), (None, None))
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"not a complete FITS image, truncated or another format ({error})") from error
    if data is None:
        raise ValueError("the FITS file holds no image")
    step = header.get("CDELT2", header.get("CD2_2"))
    if step is not None and abs(abs(step) * 3600 - PIXEL_ARCSEC) > 0.01:
        raise ValueError(f'pixels of {abs(step) * 3600:.3g}", expected {PIXEL_ARCSEC}" as in FIRST; regrid the image')
    return np.asarray(data, dtype=np.float64).squeeze()


def _read_png(path: Path) -> np.ndarray:
    """Pixels of an 8-bit greyscale PNG, (H, W) uint8."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode, pixels = image.mode, np.array(image)
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"not a complete PNG image, truncated or another format ({error})") from error
    if mode != "L":
        raise ValueError(f"a PNG of mode {mode}, expected 8-bit greyscale (mode L); convert it first")
    return pixels

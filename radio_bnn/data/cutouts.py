"""A FIRST cutout becomes the network's input exactly as MiraBest's images were made (Porter & Scaife 2023).

Reading takes no more memory than an image of ``MAX_PIXELS`` needs, whatever a file declares, and reads to its end, so
that gzip's checksum and those of FITS (CHECKSUM, DATASUM, where they are present) speak.
"""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from radio_bnn.data.galaxies import IMAGE_SIZE, PIXEL_ARCSEC

RAW_SIZE = 300
N_SIGMA = 3
MAX_MISSING = 0.1  # of the pixels that the network sees; above it the galaxy may lie where nothing was observed
MAX_SKY = 0.5  # of the noise; FIRST's own cutouts lie within 0.1
MAX_PIXELS = 4096**2
MAX_BYTES = 8 * MAX_PIXELS + 2**23  # the widest pixels, and headers
SANE = (1e-100, 1e100)  # brightness whose square and noise a float holds
FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz", ".fz")


class Unusable(ValueError):
    """An image from which no input can be made; ``flag`` is ``"no_signal"``, ``"missing_data"`` or empty."""

    def __init__(self, message: str, flag: str = "") -> None:
        super().__init__(message)
        self.flag = flag


def read_cutout(path: str | Path) -> np.ndarray:
    """A cutout file as an image like those of MiraBest, (150, 150) uint8.

    FITS (also gzipped or tile-compressed, degenerate axes allowed) and 8-bit greyscale PNG of at least 300 x 300 pixels
    at 1.8"/pixel go through ``network_input``; a 150 x 150 PNG counts as preprocessed and is taken as it is.
    Raises ``FileNotFoundError``, or ``ValueError`` for what is not such an image. ``radio_bnn.sky`` takes other pixels.
    """
    path = Path(path)
    try:
        if is_png(path):
            raw = read_png(path)
            return with_signal(raw) if raw.shape == (IMAGE_SIZE, IMAGE_SIZE) else network_input(raw)
        raw, header = read_fits(path)
        _check_step(header)
        return network_input(raw)
    except Unusable as error:
        raise Unusable(f"{path}: {error}", error.flag) from error


def network_input(raw: np.ndarray) -> np.ndarray:
    """``preprocess`` of an image (H, W) that deserves it, (150, 150) uint8.

    Raises ``Unusable`` also where more than a tenth of the central 150 x 150 pixels is NaN, or where the sky does not
    lie at zero within half of its noise (a pedestal lights every pixel), which ``preprocess`` lets pass.
    """
    raw = _centre(_checked(raw), RAW_SIZE)
    if (missing := missing_share(raw)) > MAX_MISSING:
        raise Unusable(
            f"{100 * missing:.0f} % of the central {IMAGE_SIZE} x {IMAGE_SIZE} pixels were not observed (NaN), "
            f"expected at most {100 * MAX_MISSING:.0f} %",
            "missing_data",
        )
    sky, noise = _sky(raw)
    scaled = _stages(raw, noise)["scaled"]
    if abs(sky) > MAX_SKY * noise:
        raise Unusable(
            f"the sky lies at {sky:.3g} where its noise is {noise:.3g}, expected a sky of zero: subtract it, if the "
            "brightness is linear (a grey sky is also the mark of a stretch made for the eye)"
        )
    return scaled


def missing_share(raw: np.ndarray) -> float:
    """The share of NaN among the central 150 x 150 pixels of an image (H, W), 0..1."""
    return float(np.isnan(_centre(np.asarray(raw), IMAGE_SIZE)).mean())


def preprocess(raw: np.ndarray) -> np.ndarray:
    """Brightness (H, W) to pixels (150, 150) uint8: the last of ``preprocessing_steps``."""
    return preprocessing_steps(raw)["scaled"]


def preprocessing_steps(raw: np.ndarray) -> dict[str, np.ndarray]:
    """Every stage from a cutout to the network's input, in order.

    ``raw`` (300, 300), brightness in any unit, NaN where nothing was observed; of a larger image its central 300 x 300.
    ``clipped`` (300, 300): x where x > 3 s, else 0, with s the sigma-clipped standard deviation of the finite pixels.
    ``cropped`` (150, 150): the centre. ``masked``: 0 farther than 75 pixels from pixel (75, 75).
    ``scaled`` uint8: floor(255 (x - min) / (max - min)) inside that circle, 0 outside.
    Raises ``Unusable``, a ``ValueError``, for an image that is not 2-D, too small, complex, infinite, beyond 1e±100,
    without finite pixels or without signal above 3 s.
    """
    raw = _centre(_checked(raw), RAW_SIZE)
    return _stages(raw, _sky(raw)[1])


def circular_mask() -> np.ndarray:
    """True within 75 pixels of pixel (75, 75); (150, 150) bool."""
    radius = IMAGE_SIZE // 2
    y, x = np.ogrid[:IMAGE_SIZE, :IMAGE_SIZE]
    return (y - radius) ** 2 + (x - radius) ** 2 <= radius**2


def with_signal(image: np.ndarray) -> np.ndarray:
    """An image that is an input already, as it is; raises ``Unusable`` where all its pixels are alike."""
    if image.min() == image.max():
        raise Unusable(f"every pixel is {image.flat[0]}: there is nothing to classify", "no_signal")
    return image


def as_pixels(data: Any) -> np.ndarray:
    """Numbers in any form (integers, masked, with a unit, axes of length 1) as (H, W) float64, NaN where masked.

    Raises ``Unusable`` for complex numbers, for what is not numbers, and for other axes.
    """
    masked = np.ma.getmaskarray(data) if np.ma.isMaskedArray(data) else None
    pixels = np.asarray(data.data if masked is not None else data)
    if not (np.issubdtype(pixels.dtype, np.integer) or np.issubdtype(pixels.dtype, np.floating)):
        raise Unusable(f"the pixels are of type {pixels.dtype}, expected real numbers")
    with np.errstate(invalid="ignore", over="ignore"):  # a signalling NaN is one; what overflows is infinite
        pixels = pixels.astype(np.float64)
    if masked is not None:
        pixels[masked] = np.nan
    found = pixels.squeeze()
    if found.ndim != 2:
        raise Unusable(f"the image has axes {pixels.shape}, expected two (rows, columns)")
    return found


def is_png(path: Path) -> bool:
    """Whether a file is PNG (True) or FITS (False) by its name; raises ``FileNotFoundError`` or ``Unusable``."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a FITS or PNG cutout")
    if not path.name.lower().endswith((*FITS_SUFFIXES, ".png")):
        kind = path.suffix.lower() or "no suffix"
        raise Unusable(f"{kind} is not a known image type; expected .fits, .fits.gz, .fits.fz or .png")
    return path.suffix.lower() == ".png"


def read_fits(path: Path) -> tuple[np.ndarray, Any]:
    """Pixels (H, W) float64 of the first image of a FITS file, degenerate axes removed, and its astropy header.

    Raises ``Unusable`` for what is no such image, damaged, or larger than ``MAX_PIXELS``; ``OSError`` if unreadable.
    """
    data = _whole_file(path)
    try:
        with warnings.catch_warnings(record=True) as said:  # about headers, and about a truncation: an error below
            warnings.simplefilter("always")
            pixels, header = _first_image(data)
    except Unusable:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise Unusable(f"not a complete FITS image, truncated or another format ({_line(error)})") from error
    if any("verification failed" in str(warning.message) for warning in said):
        raise Unusable("its FITS checksum (CHECKSUM or DATASUM) is not that of its content: the file is damaged")
    return as_pixels(pixels), header


def read_png(path: Path) -> np.ndarray:
    """Pixels of an 8-bit greyscale PNG, (H, W) uint8; raises ``Unusable`` for any other."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PIL's own limit, which is higher
            with Image.open(path, formats=["PNG"]) as image:
                check_size(image.size[::-1])
                image.verify()  # its checksums, which reading the pixels leaves out
            with Image.open(path, formats=["PNG"]) as image:
                mode, pixels = image.mode, np.array(image)
    except Unusable:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise Unusable(f"not a complete PNG image, truncated or another format ({_line(error)})") from error
    if mode != "L":
        raise Unusable(f"a PNG of mode {mode}, expected 8-bit greyscale (mode L); convert it first")
    return pixels


def check_size(shape: tuple[int, ...]) -> None:
    """Raise ``Unusable`` where an image of these axes has more than ``MAX_PIXELS``."""
    if np.prod([float(n) for n in shape]) > MAX_PIXELS:
        side = int(MAX_PIXELS**0.5)
        axes = " x ".join(map(str, shape))
        raise Unusable(
            f"the image is declared as {axes} pixels, expected a cutout of at most {side} x {side}; from a mosaic, "
            "cut out the positions of a catalogue"
        )


def _first_image(data: bytes) -> tuple[np.ndarray, Any]:
    from astropy.io import fits

    with fits.open(io.BytesIO(data), memmap=False, checksum=True) as hdus:
        for hdu in hdus:
            if hdu.is_image and hdu.size:
                check_size(hdu.shape)
                return hdu.data, hdu.header
    raise Unusable("the FITS file holds no image")


def _whole_file(path: Path) -> bytes:
    """A file's bytes, unpacked if gzipped; never more than ``MAX_BYTES`` of them are held."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            stream = gzip.GzipFile(fileobj=file) if packed else file
            start = stream.read(2**16)
            if packed:
                _check_declared(start)
            data = start + stream.read(MAX_BYTES + 1 - len(start))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Unusable(f"not a complete FITS image, truncated or damaged ({_line(error)})") from error
    if len(data) > MAX_BYTES:
        raise Unusable(f"it holds more than {MAX_BYTES >> 20} MiB, too many for a cutout; cut it out first")
    return data


def _check_declared(start: bytes) -> None:
    """Refuse by its first header what would only be found too large after unpacking all of it."""
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = fits.Header.fromstring(start[: start.find(b"END" + 77 * b" ") + 80])
            axes = [int(header[f"NAXIS{i}"]) for i in range(int(header.get("NAXIS", 0)), 0, -1)]
    except Exception:  # whatever is wrong with this header, reading it whole says it better
        return
    if axes:
        check_size(tuple(axes))


def _check_step(header: Any) -> None:
    step = header.get("CDELT2", header.get("CD2_2"))
    if step is None:
        return
    if not isinstance(step, int | float):
        raise Unusable(f"the pixel scale of the header is {step!r}, expected a number")
    if abs(abs(step) * 3600 - PIXEL_ARCSEC) > 0.01:
        raise Unusable(f'pixels of {abs(step) * 3600:.3g}", expected {PIXEL_ARCSEC}" as in FIRST; regrid the image')


def _checked(raw: np.ndarray) -> np.ndarray:
    raw = as_pixels(raw)
    if min(raw.shape) < RAW_SIZE:
        raise Unusable(
            f"the image is {raw.shape[0]} x {raw.shape[1]} pixels, expected at least {RAW_SIZE} x {RAW_SIZE}"
        )
    if np.isinf(raw).any():
        raise Unusable("some pixels are infinite; expected finite brightness, or NaN where nothing was observed")
    if np.isnan(raw).all():
        raise Unusable("every pixel is NaN: the survey did not observe this position", "missing_data")
    peak = np.nanmax(np.abs(raw))
    if peak and not SANE[0] < peak < SANE[1]:
        raise Unusable(f"the brightest pixel is {peak:.3g}, expected a brightness between {SANE[0]:g} and {SANE[1]:g}")
    return raw


def _centre(image: np.ndarray, size: int) -> np.ndarray:
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def _sky(raw: np.ndarray) -> tuple[float, float]:
    """Median and standard deviation of the finite pixels, sigma-clipped."""
    from astropy.stats import sigma_clipped_stats

    observed = raw[~np.isnan(raw)]
    if not observed.size:
        raise Unusable("every pixel is NaN: the survey did not observe this position", "missing_data")
    return sigma_clipped_stats(observed, sigma=3, maxiters=5, axis=0)[1:]  # with an axis it is compiled


def _stages(raw: np.ndarray, noise: float) -> dict[str, np.ndarray]:
    observed = np.where(np.isnan(raw), 0.0, raw)
    clipped = np.where(observed > N_SIGMA * noise, observed, 0.0)
    cropped = _centre(clipped, IMAGE_SIZE)
    circle = circular_mask()
    masked = np.where(circle, cropped, 0.0)
    scaled = np.where(circle, _rescale(masked[circle], masked), 0).astype(np.uint8)
    return {"raw": raw, "clipped": clipped, "cropped": cropped, "masked": masked, "scaled": scaled}


def _rescale(inside: np.ndarray, image: np.ndarray) -> np.ndarray:
    low, high = inside.min(), inside.max()
    if low == high:
        raise Unusable(f"no signal above {N_SIGMA} sigma within {IMAGE_SIZE // 2} pixels of the centre", "no_signal")
    return 255 * (image - low) / (high - low)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

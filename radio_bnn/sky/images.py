"""One image of the sky, of any pixels, orientation and beam, becomes a cutout like those that MiraBest was made from.

What is at 1.8"/pixel and north up already is only cut out, bit for bit. Anything else is interpolated by cubic splines
on a tangent plane: the samples of a brightness per beam stay samples of it. Judged on Gaussian sources of FIRST's beam
against their closed form, the worst pixel is off by under 1 % of the peak, where area weighting loses up to 11 %,
bilinear up to 11 % and adaptive resampling 20 % of it, since they smooth. ``reproject_interp`` of order 3 is as near,
but there one NaN spreads over the whole image, and that package would bring a dozen others with it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.fft import fftfreq, irfft2, next_fast_len, rfft2, rfftfreq
from scipy.ndimage import map_coordinates

from radio_bnn.data.cutouts import MAX_PIXELS, RAW_SIZE, Unusable, missing_share, network_input, with_signal
from radio_bnn.data.galaxies import IMAGE_SIZE, PIXEL_ARCSEC
from radio_bnn.data.ruler import islands, source

BEAM_ARCSEC = 5.4
COARSE_ARCSEC = 7.0  # FIRST's own beam reaches 6.8" in the south (Becker, White & Helfand 1995)
FINE_PIXEL = PIXEL_ARCSEC / 2
SCALE_TOLERANCE = 0.01  # arcsec
TURN_TOLERANCE = np.radians(1.0)  # the pixels of FIRST's own fields are turned by up to 0.6 degrees
WIDEST_PIXEL = RAW_SIZE * PIXEL_ARCSEC / 10
BLENDED_SHARE = 0.1  # 17 % of MiraBest's galaxies have more of their light elsewhere
FWHM = np.sqrt(8 * np.log(2))  # over the standard deviation of a Gaussian
ARCSEC = np.degrees(1) * 3600
NUMBER = r"([-+]?\d*\.?\d+(?:[Ee][-+]?\d+)?)"
CLEAN_BEAM = re.compile(rf"AIPS\s+CLEAN\s+BMAJ=\s*{NUMBER}\s+BMIN=\s*{NUMBER}\s+BPA=\s*{NUMBER}")
WCS_NUMBER = re.compile(r"CRPIX\d|CRVAL\d|CDELT\d|CROTA\d|(CD|PC)\d_\d")


@dataclass(frozen=True, eq=False)
class Sky:
    """An image: ``pixels`` (H, W), or what gives such an array when sliced, its header, its celestial WCS or None."""

    pixels: Any
    header: Mapping = field(default_factory=dict)
    wcs: Any = None


class Cutout(NamedTuple):
    """``raw`` (300, 300) float64, NaN where unknown, its ``flags``, and where it is centred, deg ICRS or nan."""

    raw: np.ndarray
    flags: tuple[str, ...]
    ra: float
    dec: float


class Beam(NamedTuple):
    """Full widths at half maximum in arcsec, position angle in radians from north through east."""

    major: float
    minor: float
    angle: float


def celestial_wcs(header: Mapping) -> Any:
    """The celestial part of a header's WCS, or None if it has none; raises ``Unusable`` for one that is wrong."""
    from astropy.wcs import WCS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about keywords that it mends
            for name in header:
                if WCS_NUMBER.fullmatch(name) and not _is_number(header[name]):
                    raise ValueError(f"{name} is {header[name]!r}, expected a number")  # which wcslib leaves out
            wcs = WCS(header).celestial
            return wcs if wcs.naxis == 2 and wcs.has_celestial else None
    except Exception as error:  # whatever a header holds
        raise Unusable(f"its header has no valid WCS ({' '.join(str(error).split())[:200]})") from error


def cutout(sky: Sky, *, at: tuple[float, float] | None = None, pixel_scale: float | None = None) -> Cutout:
    """300 x 300 pixels of 1.8 arcsec, north up, around a position (ra, dec; deg ICRS) or an image's centre.

    ``pixel_scale`` (arcsec) is that of an image without a WCS. A beam finer than FIRST's 5.4" is convolved to it.
    Flags: ``edge`` where it reaches outside the image, ``resampled`` where pixels were computed, ``coarse_beam``.
    Raises ``Unusable`` for an image whose scale is unknown, contradicts ``pixel_scale``, or can't be brought to 1.8".
    """
    wcs = _scaled(sky, pixel_scale)
    ra, dec, x, y = _place(sky, wcs, at)
    jacobian = _jacobian(wcs, x, y)
    scale = _scale(jacobian, None if sky.wcs is None else pixel_scale)
    beam = _beam(sky.header)
    kernel = _kernel(beam, scale)
    if kernel is None and _is_standard(jacobian):
        raw, edge, resampled = *_cut(sky.pixels, x, y), False
    else:
        raw, edge = _resampled(sky, wcs, (ra, dec), jacobian, kernel)
        raw, resampled = raw * _per_new_beam(beam, sky.header), True
    coarse = scale > COARSE_ARCSEC / 2 if beam is None else beam.major > COARSE_ARCSEC  # two pixels a beam, at least
    flags = {"edge": edge, "resampled": resampled, "coarse_beam": coarse}
    known = (ra, dec) if sky.wcs is not None else (np.nan, np.nan)
    return Cutout(raw, tuple(flag for flag, raised in flags.items() if raised), *known)


def as_input(raw: np.ndarray) -> tuple[np.ndarray | None, list[str], str]:
    """The network's input of a cutout (300, 300) or None, flags, and why there is none.

    An image (150, 150) uint8 counts as an input already.
    """
    prepared = raw.dtype == np.uint8 and raw.shape == (IMAGE_SIZE, IMAGE_SIZE)
    flags = [] if prepared or not missing_share(raw) else ["missing_data"]
    try:
        image = with_signal(raw) if prepared else network_input(raw)
    except Unusable as error:
        return None, [*flags, error.flag], str(error)
    return image, [*flags, *(["blended"] if is_blended(image) else [])], ""


def is_blended(image: np.ndarray) -> bool:
    """Whether more than a tenth of an input's light is of other sources than the one at its centre.

    Sources are islands of at least 8 pixels; those within 30" of each other are one, as for ``data.ruler``.
    """
    lit = islands(image)
    light = np.where(lit, image, 0.0)
    return bool(light[~source(image)].sum() > BLENDED_SHARE * light.sum())


def _scaled(sky: Sky, pixel_scale: float | None) -> Any:
    if sky.wcs is not None:
        return sky.wcs
    if pixel_scale is None:
        raise Unusable(
            "nothing says how wide its pixels are (it has no celestial WCS): give the pixel scale, in arcsec"
        )
    height, width = sky.pixels.shape
    return _north_up(0.0, 0.0, pixel_scale, ((width + 1) / 2, (height + 1) / 2))


def _north_up(ra: float, dec: float, scale: float, crpix: tuple[float, float]) -> Any:
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], crpix
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    wcs.wcs.radesys = "ICRS"
    return wcs


def _place(sky: Sky, wcs: Any, at: tuple[float, float] | None) -> tuple[float, float, float, float]:
    """Where the cutout is centred: right ascension, declination, and the pixel."""
    from astropy.coordinates import SkyCoord

    if at is None:
        height, width = sky.pixels.shape
        x, y = (width - 1) / 2, (height - 1) / 2
        place = wcs.pixel_to_world(x, y).icrs
        return float(place.ra.deg), float(place.dec.deg), x, y
    place = SkyCoord(*at, unit="deg")
    x, y = map(float, wcs.world_to_pixel(place))
    height, width = sky.pixels.shape
    inside = -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5  # False for nan
    # A projection can show a far point of the sky where another one lies.
    if not inside or not wcs.pixel_to_world(x, y).icrs.separation(place).arcsec < PIXEL_ARCSEC / 2:
        raise Unusable("the position lies outside the image", "edge")
    return *at, x, y


def _jacobian(wcs: Any, x: float, y: float) -> np.ndarray:
    """Arcsec east and north (rows) for one pixel along x and y (columns), there."""
    points = wcs.pixel_to_world([x, x + 1, x], [y, y, y + 1]).icrs
    vectors = points.cartesian.xyz.value.T
    ra, dec = points[0].ra.rad, points[0].dec.rad
    east = [-np.sin(ra), np.cos(ra), 0.0]
    north = [-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)]
    return np.array([east, north]) @ (vectors[1:] - vectors[0]).T * ARCSEC


def _scale(jacobian: np.ndarray, said: float | None) -> float:
    """The root of a pixel's area, arcsec."""
    scale = float(np.sqrt(abs(np.linalg.det(jacobian))))
    if not (0 < scale < WIDEST_PIXEL and np.linalg.cond(jacobian) < 100):
        sides = " x ".join(f'{side:.3g}"' for side in np.hypot(*jacobian))
        raise Unusable(f'pixels of {sides}, expected squares or nearly, below {WIDEST_PIXEL:g}": is the WCS right?')
    if said and abs(scale - said) > SCALE_TOLERANCE:
        raise Unusable(f'pixels of {scale:.4g}" by its WCS and of {said:g}" by you: leave out what is wrong')
    return scale


def _is_standard(jacobian: np.ndarray) -> bool:
    turn = PIXEL_ARCSEC * np.sin(TURN_TOLERANCE)
    tolerance = np.array([[SCALE_TOLERANCE, turn], [turn, SCALE_TOLERANCE]])
    return bool((abs(jacobian - np.diag([-PIXEL_ARCSEC, PIXEL_ARCSEC])) <= tolerance).all())


def _beam(header: Mapping) -> Beam | None:
    """The beam of a header's keywords, or of the last CLEAN that AIPS tells of in its HISTORY, or None."""
    values = [header.get("BMAJ"), header.get("BMIN", header.get("BMAJ")), header.get("BPA", 0.0)]
    if values[0] is None:
        told = CLEAN_BEAM.findall(str(header.get("HISTORY", "")))
        if not told:
            return None
        values = [float(number) for number in told[-1]]
    if not all(map(_is_number, values)):
        raise Unusable(f"the beam of its header (BMAJ, BMIN, BPA) is {values}, expected three numbers, in degrees")
    major, minor, angle = values[0] * 3600, values[1] * 3600, np.radians(values[2])
    if not (0 < minor <= major < np.inf and np.isfinite(angle)):
        return None  # a placeholder
    return Beam(major, minor, angle)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kernel(beam: Beam | None, scale: float) -> np.ndarray | None:
    """Covariance (east, north; arcsec squared) of the Gaussian that widens a beam to FIRST's, None if it needs none."""
    if beam is None:  # unknown: of pixels much finer than FIRST's none may fall between two of those
        width = np.square(2 * PIXEL_ARCSEC) - np.square(2 * scale) if scale < FINE_PIXEL else 0.0
        return np.eye(2) * width / FWHM**2 if width else None
    if beam.minor > 0.98 * BEAM_ARCSEC:
        return None
    along = np.array([np.sin(beam.angle), np.cos(beam.angle)])
    across = np.array([np.cos(beam.angle), -np.sin(beam.angle)])
    missing = [max(BEAM_ARCSEC**2 - axis**2, 0.0) / FWHM**2 for axis in (beam.major, beam.minor)]
    return missing[0] * np.outer(along, along) + missing[1] * np.outer(across, across)


def _per_new_beam(beam: Beam | None, header: Mapping) -> float:
    """How many of the old beams are in a new one, for brightness per beam; 1 for other units."""
    if beam is None or "beam" not in str(header.get("BUNIT", "")).lower():
        return 1.0
    return max(beam.major, BEAM_ARCSEC) * max(beam.minor, BEAM_ARCSEC) / (beam.major * beam.minor)


def _cut(pixels: Any, x: float, y: float) -> tuple[np.ndarray, bool]:
    """The 300 x 300 pixels around a place and whether some lie outside, as ``astropy.nddata.Cutout2D`` cuts them."""
    from astropy.nddata.utils import NoOverlapError, overlap_slices

    raw = np.full((RAW_SIZE, RAW_SIZE), np.nan)
    try:
        inside, here = overlap_slices(pixels.shape, raw.shape, (y, x), mode="partial")
    except NoOverlapError:
        return raw, True
    raw[here] = pixels[inside]
    return raw, any(part.stop - part.start < RAW_SIZE for part in here)


def _resampled(
    sky: Sky, wcs: Any, at: tuple[float, float], jacobian: np.ndarray, kernel: np.ndarray | None
) -> tuple[np.ndarray, bool]:
    """The cutout's pixels, interpolated, and whether some lie outside the image."""
    from astropy.wcs.utils import pixel_to_pixel

    middle = (RAW_SIZE + 1) / 2
    rows, columns = np.indices((RAW_SIZE, RAW_SIZE))
    x, y = pixel_to_pixel(_north_up(*at, PIXEL_ARCSEC, (middle, middle)), wcs, columns, rows)
    height, width = sky.pixels.shape
    outside = ~((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5))
    if outside.all():
        return np.full(x.shape, np.nan), True
    spread = None if kernel is None else np.linalg.inv(jacobian) @ kernel @ np.linalg.inv(jacobian).T
    margin = 4 + (0 if spread is None else int(np.ceil(4 * np.sqrt(spread.trace()))))
    top, bottom = _reach(y[~outside], margin, height)
    left, right = _reach(x[~outside], margin, width)
    if (bottom - top) * (right - left) > MAX_PIXELS:
        raise Unusable(
            f'its pixels are so fine that {RAW_SIZE * PIXEL_ARCSEC:g}" are {bottom - top} x {right - left} of them, '
            f"expected at most {int(MAX_PIXELS**0.5)} x {int(MAX_PIXELS**0.5)}: average them first"
        )
    part = np.asarray(sky.pixels[top:bottom, left:right], dtype=np.float64)
    if np.isinf(part).any():
        raise Unusable("some pixels are infinite; expected finite brightness, or NaN where nothing was observed")
    return _interpolated(part if spread is None else _convolved(part, spread), y - top, x - left), bool(outside.any())


def _reach(along: np.ndarray, margin: int, size: int) -> tuple[int, int]:
    return max(int(along.min()) - margin, 0), min(int(np.ceil(along.max())) + margin + 1, size)


def _interpolated(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Cubic spline at (y, x); NaN outside, and where a pixel next to it is NaN."""
    unknown = np.isnan(image)
    found = map_coordinates(np.where(unknown, 0.0, image), [y, x], order=3, mode="constant", cval=np.nan)
    if unknown.any():
        found[map_coordinates(unknown.astype(float), [y, x], order=1, mode="nearest") > 1e-9] = np.nan
    return found


def _convolved(image: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The image under a Gaussian of this covariance (x, y; pixels squared); NaN and the outside count for nothing.

    By the Gaussian's own Fourier transform: a sampled kernel is wrong where it is narrow, as along a line.
    """
    border = 4 * int(np.ceil(np.sqrt(spread.trace())))
    shape = tuple(next_fast_len(n + border, real=True) for n in image.shape)
    ky, kx = fftfreq(shape[0])[:, None], rfftfreq(shape[1])
    (xx, xy), (_, yy) = spread
    transfer = np.exp(-2 * np.pi**2 * (xx * kx**2 + 2 * xy * kx * ky + yy * ky**2))

    def smooth(values: np.ndarray) -> np.ndarray:
        return irfft2(rfft2(values, shape) * transfer, shape)[: image.shape[0], : image.shape[1]]

    known = ~np.isnan(image)
    found = np.full(image.shape, np.nan)
    found[known] = smooth(np.where(known, image, 0.0))[known] / smooth(known.astype(float))[known]
    return found

"""Cutouts of the FIRST survey by position, from its own service (extra ``first``), kept in a folder.

Untried against the real service: it was written where that could not be reached, and is tested against a local server.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from radio_bnn.data.cutouts import RAW_SIZE, Unusable, read_fits
from radio_bnn.data.galaxies import PIXEL_ARCSEC
from radio_bnn.files import replacing
from radio_bnn.sky.images import Sky, celestial_wcs

TIMEOUT = 30.0


@dataclass(frozen=True)
class First:
    """Cutouts of FIRST in ``folder``; those that are not there yet are fetched, ``timeout`` seconds for an answer.

    ``server`` is the service's address, by default astroquery's. Raises ``ValueError`` without astroquery, ``OSError``
    for a folder that can't be made.
    """

    folder: Path
    timeout: float = TIMEOUT
    server: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.timeout < np.inf:
            raise ValueError(f"the time-out is {self.timeout}, expected seconds, more than 0")
        if find_spec("astroquery") is None:
            raise ValueError("fetching from FIRST needs astroquery: pip install 'radio-bnn[first]'")
        self.folder.mkdir(parents=True, exist_ok=True)

    def around(self, ra: float, dec: float) -> Sky:
        """The image around a position (deg ICRS), from the folder or fetched into it.

        Raises ``Unusable`` where FIRST has none or did not answer, or where ``RADIO_BNN_OFFLINE`` forbids to ask.
        """
        path = self.folder / f"{ra:.5f}{dec:+.5f}.fits"
        if not path.is_file():
            self._fetch(ra, dec, path)
        try:
            pixels, header = read_fits(path)
        except Unusable as error:
            raise Unusable(f"{path}: {error}; remove it to fetch it again") from error
        return Sky(pixels, header, celestial_wcs(header))

    def _fetch(self, ra: float, dec: float, path: Path) -> None:
        if os.environ.get("RADIO_BNN_OFFLINE", "0") not in ("", "0"):
            raise Unusable(f"it is not in {self.folder}, and RADIO_BNN_OFFLINE forbids a download")
        content = self._answer(ra, dec)
        if not content.startswith(b"SIMPLE  ="):
            said = re.sub(r"<[^>]*>", " ", content[:2000].decode(errors="replace"))
            raise Unusable(f"FIRST has no image there; it answered: {' '.join(said.split())[:200] or 'nothing'}")
        with replacing(path) as partial:
            partial.write_bytes(content)
            read_fits(partial)  # half an answer is not kept

    def _answer(self, ra: float, dec: float) -> bytes:
        from astropy import units as u
        from astropy.coordinates import SkyCoord
        from astroquery import cache_conf
        from astroquery.image_cutouts.first import FirstClass
        from requests import RequestException

        service = FirstClass()
        service.TIMEOUT = self.timeout
        if self.server is not None:
            service.URL = self.server
        try:
            with cache_conf.set_temp("cache_active", False):
                place = SkyCoord(ra, dec, unit="deg")
                answer = service.get_images_async(place, image_size=RAW_SIZE * PIXEL_ARCSEC * u.arcsec)
            answer.raise_for_status()
            return answer.content
        except RequestException as error:
            raise Unusable(f"FIRST did not answer ({type(error).__name__}); call again to resume") from error

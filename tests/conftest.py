"""What the tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("gate", derandomize=True, database=None, deadline=None)  # equal runs, nothing left behind
settings.load_profile("gate")
os.environ.setdefault("RADIO_BNN_OFFLINE", "1")


@pytest.fixture(scope="session")
def mirabest_archive() -> Path:
    """The real archive, from RADIO_BNN_DATA or the cache; tests that need it are skipped where it is absent."""
    from radio_bnn.data.mirabest import locate

    return locate() or pytest.skip("needs MiraBest: set RADIO_BNN_DATA to its archive or folder")


@pytest.fixture(scope="session")
def first_cutouts(mirabest_archive: Path) -> list[Path]:
    """FITS cutouts from FIRST that may lie in a folder fits/ beside the archive."""
    return sorted(mirabest_archive.parent.glob("fits/*.fits.gz")) or pytest.skip("needs fits/ beside MiraBest")

"""A world in which runs are trained in a moment."""

import pytest
from scenarios import catalogue

from radio_bnn.runs import execute


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Toy galaxies, an empty book and an empty cache."""
    monkeypatch.setattr(execute, "load_data", catalogue)
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path / "book"))
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    return tmp_path

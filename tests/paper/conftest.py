import pytest

from radio_bnn.config import run_id
from radio_bnn.paper import contrasts
from radio_bnn.runs.records import Run


@pytest.fixture
def store(monkeypatch):
    """An empty store; ``store[run_id(config), kind]`` is a record."""
    records = {}

    def find(config, kind=Run):
        return records.get((run_id(config), kind.kind))

    monkeypatch.setattr(contrasts, "find", find)
    return records

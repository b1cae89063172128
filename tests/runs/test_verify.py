from dataclasses import replace

import numpy as np
import pytest

from radio_bnn.config import RANGES, Config, run_id
from radio_bnn.runs import execute, records
from radio_bnn.runs.records import Run
from radio_bnn.runs.verify import beside, stored, verify

CONFIG = Config.preview(data="simulated", simulated_galaxies=100, epochs=2, batch_size=8, samples=5)


def test_a_run_repeats_bit_for_bit_and_another_seed_does_not(world):
    run = execute.load_or_run(CONFIG, device="cpu", progress=False)
    files = sorted(path.name for path in world.rglob("*"))
    found = verify(stored(run_id(CONFIG)), device="cpu", progress=False)
    assert found.equal and found.difference == 0 < found.between_seeds
    assert sorted(path.name for path in world.rglob("*")) == files
    assert str(found).startswith(f"run {run.identity}: equal bits; another seed differs by ")


def test_what_differs_from_its_record_is_said_with_its_size(world):
    run = execute.load_or_run(CONFIG, device="cpu", progress=False)
    arrays = dict(run.arrays) | {"difference_test": -run.arrays["difference_test"]}
    found = verify(Run(run.config, run.content, arrays), device="cpu", progress=False)
    p = np.exp(run.logits["test"].astype(float))
    p = (p / p.sum(-1, keepdims=True)).mean(0)
    assert not found.equal and found.difference == pytest.approx(np.abs(p[:, 0] - p[:, 1]).mean())
    assert "differs by" in str(found)


def test_a_run_that_is_not_stored_is_named(world):
    with pytest.raises(ValueError, match="no run 'abc' is stored"):
        stored("abc")
    assert records.find(CONFIG) is None


@pytest.mark.parametrize("seed", [0, 1, RANGES["seed"].high])
def test_every_seed_has_another_beside_it(seed):
    config = Config.preview(seed=seed)
    assert beside(config).seed != seed
    assert replace(beside(config), seed=seed) == config

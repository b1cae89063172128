import pytest

from radio_bnn.config import Config, run_id
from radio_bnn.paper import convergence, experiments
from radio_bnn.paper.convergence import QUANTITIES, Convergence
from radio_bnn.runs import execute, records
from radio_bnn.runs.records import Posterior


def measured(**changes: float) -> dict:
    """Three seeds that spread by 1 around 2, and doublings that change a quantity by ``changes[quantity]``."""
    values = dict(zip(experiments.training_seeds(), (2.0, 1.0, 3.0), strict=True))
    values |= dict.fromkeys(experiments.doubled(), 2.0) | dict.fromkeys(experiments.neighbours(), 0.0)
    found = {name: dict.fromkeys(QUANTITIES, value) for name, value in values.items()}
    for quantity, change in changes.items():
        found["twice the epochs"][quantity] += change
    return found


def test_settled_is_a_change_below_the_deviation_over_seeds():
    found = convergence.judge(measured(kl_per_weight=-0.99, objective=-1.0))
    assert found["kl_per_weight"] == pytest.approx(
        {"deviation": 1.0, "twice the epochs": -0.99, "twice the initial σ": 0.0, "settled": True}
    )
    assert not found["objective"]["settled"]


def test_the_tables_show_what_is_settled_and_what_was_tried():
    settled, tried = convergence.settled_table(measured(objective=5.0)), convergence.searched_table(measured())
    assert "| objective [nats] | 2 | 1 | +5 | +0 | no |" in settled
    assert "| mean log σ | 2.000 | 1.000 | +0.000 | +0.000 | yes |" in settled
    assert "| **the chosen protocol** | 2 | 2.0000 | 2.000 | 2.0 |" in tried
    assert all(name in tried for name in experiments.neighbours())


def test_what_is_missing_is_said():
    some = {name: values for name, values in measured().items() if name != "seed 123"}
    assert convergence.judge(some) == {} and convergence.settled_table(some) == "Not run."
    assert "not run" not in convergence.searched_table(some)
    assert "| **the chosen protocol** | not run |" in convergence.searched_table({})


def test_what_is_stored_of_the_plan_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    assert convergence.read() == {}
    config, numbers = experiments.convergence()["twice the epochs"], dict.fromkeys(QUANTITIES, 1.5)
    records.write(Convergence(config, {"measured": numbers}), tmp_path)
    assert convergence.read() == {"twice the epochs": numbers}
    for wrong, said in (
        ({"objective": 1.0}, "it lacks kl_per_weight"),
        (numbers | {"mean_rho": float("nan")}, "not finite"),
    ):
        with pytest.raises(ValueError, match=said):
            records.write(Convergence(config, {"measured": wrong}), tmp_path)


def test_measuring_a_posterior_is_repeatable_and_counts_the_objective(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path))
    config = Config.converged(data="simulated", simulated_galaxies=100, epochs=1, samples=2, temperature=0.5)
    execute.execute(config, tmp_path, device="cpu", progress=False, keep_posterior=True)
    posterior = records.read(tmp_path, run_id(config), Posterior)
    record = convergence.measure(posterior)
    found = record.content["measured"]
    records.write(record, tmp_path)
    assert records.read(tmp_path, run_id(config), Convergence).content == record.content
    assert found == convergence.measure(posterior).content["measured"]
    kl = 0.5 * 232_444 * found["kl_per_weight"]
    assert 0 < found["objective"] - kl < 10 * len(execute.load_data(config)["train"])


@pytest.mark.skipif(not convergence.read(), reason="no record of convergence is stored")
def test_the_stored_records_hold_every_variant():
    stored = convergence.read()
    assert stored.keys() == experiments.convergence().keys()
    assert convergence.judge(stored)["mean_rho"]["deviation"] > 0

import json

import pytest

from radio_bnn import convergence, store
from radio_bnn.config import Config


def measured(**changes: float) -> dict:
    """Three seeds that spread by 1 around 2, and doublings that change a quantity by ``changes[quantity]``."""
    values = dict(zip(convergence.seeds(), (2.0, 1.0, 3.0), strict=True))
    values |= dict.fromkeys(convergence.doubled(), 2.0) | dict.fromkeys(convergence.searched(), 0.0)
    found = {name: dict.fromkeys(convergence.QUANTITIES, value) for name, value in values.items()}
    for quantity, change in changes.items():
        found["twice the epochs"][quantity] += change
    return found


def record(**changes: float) -> dict:
    configs = convergence.seeds() | convergence.doubled() | convergence.searched()
    return {"configs": {name: config.to_dict() for name, config in configs.items()}, "measured": measured(**changes)}


def test_settled_is_a_change_below_the_deviation_over_seeds():
    found = convergence.judge(measured(kl_per_weight=-0.99, objective=-1.0))
    assert found["kl_per_weight"] == pytest.approx(
        {"deviation": 1.0, "twice the epochs": -0.99, "twice the initial σ": 0.0, "settled": True}
    )
    assert not found["objective"]["settled"]


def test_the_tables_show_what_is_settled_and_what_was_tried():
    settled, tried = convergence.settled_table(record(objective=5.0)), convergence.searched_table(record())
    assert "| objective [nats] | 2 | 1 | +5 | +0 | no |" in settled
    assert "| mean log σ | 2.000 | 1.000 | +0.000 | +0.000 | yes |" in settled
    assert "| **the chosen protocol** | 2 | 2.0000 | 2.000 | 2.0 |" in tried
    assert all(name in tried for name in convergence.searched())
    assert convergence.settled_table(None) == convergence.searched_table(None) == "Not run."


def test_a_record_of_another_protocol_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    assert convergence.read() is None
    path = tmp_path / convergence.FILE
    path.write_text(json.dumps(record()))
    assert convergence.read() == json.loads(json.dumps(record()))
    other = record()
    other["configs"]["twice the epochs"]["epochs"] = 7
    path.write_text(json.dumps(other))
    with pytest.raises(ValueError, match="another protocol"):
        convergence.read()


def test_the_neighbours_differ_from_the_protocol_in_one_setting_each():
    base = next(iter(convergence.seeds().values())).to_dict()
    for name, config in (convergence.doubled() | convergence.searched()).items():
        values = config.to_dict()
        assert (values["seed"], values["data_seed"], values["precision"]) == (122, 14, base["precision"])
        different = {k for k in base if values[k] != base[k]}
        assert "Config" in name or len({k.removesuffix("_low").removesuffix("_high") for k in different}) == 1, name


def test_measuring_is_repeatable_and_counts_the_objective(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path))
    config = Config.converged(data="simulated", simulated_galaxies=100, epochs=1, temperature=0.5)
    found = convergence.measure(config.to_dict())
    assert found.keys() == convergence.QUANTITIES.keys()
    assert found == convergence.measure(config.to_dict())
    kl = 0.5 * 232_444 * found["kl_per_weight"]
    assert 0 < found["objective"] - kl < 10 * len(store.load_data(config)["train"])


@pytest.mark.skipif(convergence.read() is None, reason="no record of convergence is stored")
def test_the_stored_record_holds_every_variant():
    stored = convergence.read()
    assert all(values.keys() == convergence.QUANTITIES.keys() for values in stored["measured"].values())
    assert stored["measured"].keys() == stored["configs"].keys()
    assert convergence.judge(stored["measured"])["mean_rho"]["deviation"] > 0

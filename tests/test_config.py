import dataclasses
import json

import pytest

from radio_bnn.config import AS_RELEASED, CHOICES, Config, run_id
from radio_bnn.priors import PRIORS


def test_a_config_survives_json():
    config = Config.preview(prior="laplace", temperature=1, as_released=["summed_mixture"])
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_defaults_are_the_published_protocol():
    assert Config() == Config.published()
    c = Config.published()
    assert (c.learning_rate, c.epochs, c.batch_size, c.temperature, c.prior, c.kl) == (
        5e-5,
        1500,
        50,
        0.01,
        "gaussian",
        "mc",
    )
    assert c.as_released == ()


def test_the_identity_covers_every_field_and_no_order():
    ids = {run_id(Config())}
    changed = {
        "data": "simulated", "method": "map", "prior": "laplace", "prior_scale": 0.2, "objective": "pac2",
        "kl": "closed", "estimator": "local", "augmentation": "d4", "schedule": "plateau", "init": "he",
        "selection": "last", "precision": "float64", "as_released": ("summed_mixture",), "init_rho_low": -4.5,
        "init_rho_high": -3.0, "temperature": 0.5, "learning_rate": 1e-3, "rho_learning_rate": 1e-2,
        "weight_decay": 1e-6, "adam_beta2": 0.9,
    }  # fmt: skip
    for field in dataclasses.fields(Config):
        value = changed.get(field.name, getattr(Config(), field.name))
        value = value + 1 if field.name not in changed else value
        ids.add(run_id(dataclasses.replace(Config(), **{field.name: value})))
    assert len(ids) == 1 + len(dataclasses.fields(Config))
    both = ("detached_variance", "summed_mixture")
    assert run_id(Config(as_released=both)) == run_id(Config(as_released=both[::-1]))


def test_identities_do_not_change():
    """Pinned: a stored record would otherwise be lost to its own chapter."""
    assert run_id(Config()) == "44136fa355b3"
    assert run_id(Config.preview(prior="laplace")) == "27c2efd9e73e"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"prior": "cauchy"}, ValueError, "prior='cauchy'.*gaussian_mixture"),
        ({"temperature": 0}, ValueError, "temperature=0.0 must be positive"),
        ({"temperature": float("nan")}, ValueError, "temperature is not a number"),
        ({"epochs": 2.5}, TypeError, "epochs=2.5 must be of type int"),
        ({"epochs": True}, TypeError, "epochs=True must be of type int"),
        ({"seed": "0"}, TypeError, "seed='0' must be of type int"),
        ({"temprature": 1.0}, ValueError, "unknown setting 'temprature': did you mean 'temperature'"),
        ({"as_released": ("A2",)}, ValueError, "as_released=.*detached_variance"),
        ({"as_released": "summed_mixture"}, TypeError, "list of names"),
        ({"prior_scale": -1.0}, ValueError, "prior_scale=-1.0 must be positive"),
        ({"init_fc_scale": 0.0}, ValueError, "init_fc_scale=0.0 must be positive"),
        ({"adam_beta2": 1.0}, ValueError, "adam_beta2=1.0 must be at least 0 and below 1"),
        ({"init_rho_low": 0.0}, ValueError, "must not exceed"),
    ],
)
def test_values_that_no_run_can_use_are_refused(values, error, message):
    with pytest.raises(error, match=message):
        Config.from_dict(values)


def test_the_choices_cover_the_registries():
    assert set(CHOICES["prior"]) == set(PRIORS)
    assert len(AS_RELEASED) == 4


def test_the_views_of_an_orbit_share_a_draw():
    assert Config.preview().estimator == "local"
    assert Config.converged(augmentation="orbit_probs").estimator == "shared"
    with pytest.raises(ValueError, match="augmentation='orbit_logits' needs estimator='shared'"):
        Config(augmentation="orbit_logits", estimator="local")

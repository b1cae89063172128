"""The class table, the split and the normalisation, on galaxies without pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from radio_bnn.data import COUNTS, Galaxies, split, validation_halves
from radio_bnn.model.inputs import normalise


@pytest.fixture
def galaxies():
    """As many galaxies per class as MiraBest has; the only pixel is irrelevant."""
    code = np.repeat(list(COUNTS), [sum(pair) for pair in COUNTS.values()])
    in_test = np.concatenate([np.arange(train + test) >= train for train, test in COUNTS.values()])
    number = np.arange(len(code))
    columns = dict.fromkeys(("ra", "dec", "redshift", "size"), number.astype(float))
    return Galaxies(
        images=np.zeros((len(code), 1, 1), np.uint8),
        code=code,
        in_test_batch=in_test,
        name=number.astype(str),
        **columns,
    )


def divide(galaxies, data_seed=14, **kwargs):
    return split(galaxies, source="simulated", sha256="0" * 64, data_seed=data_seed, **kwargs)


def test_scored_sets_have_the_published_sizes(galaxies):
    sizes = {name: len(part) for name, part in divide(galaxies).items()}
    assert sizes == {"train": 584, "validation": 145, "test": 104, "uncertain": 49, "hybrid": 30}


def test_labels_are_balanced_as_published(galaxies):
    splits = divide(galaxies)
    pool = np.concatenate([splits["train"].labels, splits["validation"].labels])
    balance = {name: np.bincount(splits[name].labels).tolist() for name in ("test", "uncertain", "hybrid")}
    assert np.bincount(pool).tolist() == [348, 381]
    assert balance == {"test": [49, 55], "uncertain": [25, 24], "hybrid": [17, 13]}


def test_no_galaxy_is_in_two_sets_and_confident_ones_are_in_one(galaxies):
    splits = divide(galaxies)
    scored = np.concatenate([part.name for part in splits.values()])
    confident = galaxies.name[galaxies.confident & (galaxies.morphology < 3)]
    assert len(set(scored)) == len(scored)
    assert set(confident) <= set(scored)


def test_data_seed_moves_galaxies_between_train_and_validation_only(galaxies):
    one, same, other = divide(galaxies, 14), divide(galaxies, 14), divide(galaxies, 15)
    assert np.array_equal(one["train"].name, same["train"].name)
    assert set(one["train"].name) != set(other["train"].name)
    for splits in (one, other):
        pool = {*splits["train"].name, *splits["validation"].name}
        assert pool == {*one["train"].name, *one["validation"].name}
    assert all(np.array_equal(one[name].name, other[name].name) for name in ("test", "uncertain", "hybrid"))


def test_class_code_digits_are_morphology_and_confidence(galaxies):
    wide_angle_uncertain = galaxies[galaxies.code == 112]
    assert set(wide_angle_uncertain.morphology) == {1}
    assert not wide_angle_uncertain.confident.any()
    assert set(galaxies[galaxies.code == 310].labels) == {1}


def test_unknown_set_names_the_choices(galaxies):
    with pytest.raises(KeyError, match="no set called 'valid': choose one of train, validation"):
        divide(galaxies)["valid"]


def test_arrays_of_different_length_are_refused(galaxies):
    with pytest.raises(ValueError, match="one entry per galaxy"):
        replace(galaxies, images=np.zeros((3, 1, 1), np.uint8))


def test_banner_of_simulated_galaxies_says_so_why_and_what_to_do(galaxies):
    banner = divide(galaxies, reason="no network").banner()
    assert banner.startswith("SIMULATED GALAXIES, not MiraBest: no network.")
    assert "RADIO_BNN_DATA" in banner and "10.5281/zenodo.4288837" in banner


def test_normalise_inverts_to_the_pixels():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    pixels = normalise(images, torch.float64)
    assert pixels.shape == (1, 1, 16, 16)
    assert torch.equal(((pixels * 0.0350 + 0.0031) * 255).round().to(torch.uint8)[:, 0], torch.from_numpy(images))
    assert pixels.min().item() == pytest.approx(-0.0031 / 0.0350, rel=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 15, 146])
def test_selecting_and_calibrating_halves_share_no_galaxy_and_leave_none_out(n):
    selecting, calibrating = (np.arange(n)[half].tolist() for half in validation_halves(n))
    assert selecting + calibrating == list(range(n))
    assert 0 <= len(calibrating) - len(selecting) <= 1

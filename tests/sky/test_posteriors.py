"""What is written comes back; what was changed since is refused."""

import json
import pickle

import numpy as np
import pytest

from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.inference.prune import fully_connected, kept
from radio_bnn.sky import posteriors


def test_networks_come_back_as_they_were(tmp_path, ensemble, bundle):
    posteriors.write(ensemble, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == bundle.read_bytes()
    assert (tmp_path / "again.json").read_bytes() == bundle.with_suffix(".json").read_bytes()
    assert ensemble.facts == {"what": {"temperature": 0.5}} and ensemble.draws == 2
    for network in ensemble.networks:
        of_dense = [kept(network.posterior[name]) for name in fully_connected(network.posterior)]
        assert sum(int(mask.sum()) for mask in of_dense) == sum(mask.numel() for mask in of_dense) // 2


def test_scores_are_those_of_the_true_class(ensemble):
    network = ensemble.networks[0]
    p = predictive_mean(network.logits("orbit"))
    expected = np.where(network.labels == 0, p[:, 1], p[:, 0])
    np.testing.assert_allclose(ensemble.scores["orbit"][0], expected)


def damaged(bundle, folder, change):
    """A copy of the two files, changed."""
    for path in (bundle, bundle.with_suffix(".json")):
        (folder / path.name).write_bytes(path.read_bytes())
    change(folder / bundle.name)
    return folder / bundle.name


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_a_fact(path):
    text = path.with_suffix(".json")
    text.write_text(text.read_text().replace("0.5", "0.6"))


def of_a_later_version(path):
    text = path.with_suffix(".json")
    text.write_text(json.dumps(json.loads(text.read_text()) | {"schema": 99}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (flip_a_byte, "its sha256 differs. Install radio_bnn again"),
        (lambda path: path.write_bytes(b""), "its sha256 differs"),
        (lambda path: path.write_bytes(pickle.dumps([1])), "its sha256 differs"),
        (change_a_fact, "its digest differs. Install radio_bnn again"),
        (of_a_later_version, "schema 99, this version reads 1"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "does not describe posteriors"),
        (lambda path: path.with_suffix(".json").write_text("{"), "does not describe posteriors"),
    ],
)
def test_a_tampered_file_is_refused_in_one_line(tmp_path, bundle, change, says):
    path = damaged(bundle, tmp_path, change)
    with pytest.raises(ValueError, match=says) as raised:
        posteriors.read(path)
    assert str(path.parent) in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OSError, match=r"nowhere\.npz"):
        posteriors.read(tmp_path / "nowhere.npz")

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenarios import images, splits

from radio_bnn.config import Config
from radio_bnn.data import validation_halves
from radio_bnn.evaluation import metrics
from radio_bnn.inference import checkpoint, train
from radio_bnn.inference.predict import predict
from radio_bnn.inference.train import Fit, fit, learning_rate_factor
from radio_bnn.seeds import generator

SPLITS = splits()
TINY = Config.preview(data="simulated", epochs=4, batch_size=8, validate_every=1, selection="nll")


def same(a: Fit, b: Fit) -> bool:
    weights = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return (
        all(torch.equal(x, y) for x, y in weights) and a.history == b.history and a.selected_epoch == b.selected_epoch
    )


def tiny_fit(config: Config = TINY, **options) -> Fit:
    return fit(config, SPLITS, device="cpu", progress=False, **options)


def test_training_learns_the_toy_galaxies():
    trained = tiny_fit(replace(TINY, epochs=25, selection="last"))
    logits = predict(trained.model, SPLITS["train"].images, samples=20, generator=generator(0, "predict"))
    assert metrics.error(logits, SPLITS["train"].labels) == 0
    assert trained.history["train_nll"][-1] < 0.1 < trained.history["train_nll"][0]


def test_two_runs_agree_and_seeds_differ():
    assert same(tiny_fit(), tiny_fit())
    assert not same(tiny_fit(), tiny_fit(replace(TINY, seed=1)))


@pytest.mark.parametrize(
    "change", [{}, {"augmentation": "d4"}, {"schedule": "plateau", "estimator": "shared", "kl": "mc"}]
)
def test_an_interrupted_training_continues_bit_for_bit(tmp_path, monkeypatch, change):
    config = replace(TINY, **change)
    whole, original = tiny_fit(config), train._validate

    def stop(training, *rest):
        original(training, *rest)
        if training.epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "_validate", stop)
    with pytest.raises(KeyboardInterrupt):
        tiny_fit(config, checkpoint=tmp_path / "a.pt", checkpoint_every=2)
    monkeypatch.setattr(train, "_validate", original)
    assert same(tiny_fit(config, checkpoint=tmp_path / "a.pt", checkpoint_every=2), whole)


KILLED = """
import sys
from pathlib import Path
from scenarios import splits
from test_train import TINY
from dataclasses import replace
import torch
from radio_bnn.inference import train
torch.set_num_threads(int(sys.argv[2]))
save = train._save
def announce(training, *rest):
    save(training, *rest)
    print("saved", training.epoch, flush=True)
train._save = announce
config, path = replace(TINY, epochs=100000), Path(sys.argv[1])
train.fit(config, splits(), device="cpu", progress=False, checkpoint=path, checkpoint_every=1)
"""


def test_a_killed_training_leaves_a_whole_checkpoint_and_continues(tmp_path):
    path, config = tmp_path / "run.pt", replace(TINY, epochs=100000)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
        )
    }
    command = [sys.executable, "-c", KILLED, str(path), str(torch.get_num_threads())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    with process:
        assert process.stdout.readline().startswith("saved 1")
        process.send_signal(signal.SIGKILL)
    content = torch.load(path, weights_only=True)
    reached = content["epoch"]
    assert content["config"] == config.to_dict() and reached >= 1
    restored = train.start(config, device="cpu")
    train._restore(restored, path, checkpoint.subject(config, SPLITS))
    again = train.start(config, device="cpu")
    for _ in range(reached):
        one_epoch(again)
    for name, value in again.state.model.state_dict().items():
        assert torch.equal(restored.state.model.state_dict()[name], value), name
    assert all(torch.equal(again.streams[k].get_state(), restored.streams[k].get_state()) for k in again.streams)
    assert torch.equal(again.state.noise.get_state(), restored.state.noise.get_state())


def one_epoch(training):
    view = train.training_view("none", SPLITS["train"].images, generator=training.streams["view"])
    train._epoch(training, view, torch.as_tensor(SPLITS["train"].labels))


def selecting_half():
    return SPLITS["validation"][validation_halves(len(SPLITS["validation"]))[0]]


def test_the_selected_network_is_the_one_that_was_evaluated():
    trained = tiny_fit()
    half = selecting_half()
    noise = generator(TINY.seed, "validate", epoch=trained.selected_epoch)
    logits = predict(trained.model, half.images, samples=train.SELECTION_SAMPLES, generator=noise)
    assert metrics.nll(logits, half.labels) == min(trained.history["validation_nll"])
    assert trained.selected_epoch == 1 + int(np.argmin(trained.history["validation_nll"]))


def selected(monkeypatch, scores: list[float]) -> int:
    """The selected epoch when the network after epoch i scores scores[i], whoever holds it."""
    config = replace(TINY, epochs=len(scores), selection="single_sample_error")
    snapshots: list[dict] = []

    def score(problem, model, epoch, validation):
        weights = {k: v.clone() for k, v in model.state_dict().items()}
        known = [i for i, s in enumerate(snapshots) if all(torch.equal(s[k], weights[k]) for k in s)]
        if not known:
            snapshots.append(weights)
        found = scores[known[0] if known else len(snapshots) - 1]
        labels = selecting_half().labels
        wrong = np.arange(len(labels)) < found
        guess = np.where(wrong, 1 - labels, labels)
        return np.eye(2)[guess][None] * 10

    monkeypatch.setattr(train, "_selection_logits", score)
    return tiny_fit(config).selected_epoch


def test_the_rule_saves_the_network_that_it_scored(monkeypatch):
    assert len(selecting_half()) >= 2
    assert selected(monkeypatch, [1, 0, 2, 2]) == 2


@pytest.mark.parametrize(
    ("wrong", "whose", "saved"),
    [([2, 1, 1, 0], [1, 1, 2, 2], 4), ([1, 1, 1, 1], [1, 1, 1, 1], 1), ([0, 2, 1, 0], [1, 1, 1, 1], 1)],
)
def test_a3_as_released_the_saved_network_is_scored_and_the_current_one_saved(monkeypatch, wrong, whose, saved):
    """A luckier draw of the saved network saves the current one; equal scores keep the first epoch's for ever."""
    held_out = SPLITS["validation"]
    config = replace(
        TINY, epochs=4, selection="single_sample_error", as_released=("stale_selection",), batch_size=len(held_out)
    )
    networks, scored = [], []

    def whole(problem, model, images, *, samples, generator):
        weights = {k: v.clone() for k, v in model.state_dict().items()}
        if generator.initial_seed() not in [g.initial_seed() for g in stale]:
            networks.append(weights)  # what the history remembers of every epoch's network
            return np.zeros((samples, len(images), 2))
        scored.append(next(i for i, w in enumerate(networks, 1) if all(torch.equal(w[k], weights[k]) for k in w)))
        right = np.arange(len(held_out)) >= wrong[len(scored) - 1]
        return 10 * np.eye(2)[np.where(right, held_out.labels, 1 - held_out.labels)][None]

    stale = [generator(TINY.seed, "stale", epoch=epoch) for epoch in range(1, 5)]
    monkeypatch.setattr(train, "predict_as_trained", whole)
    assert tiny_fit(config).selected_epoch == saved
    assert scored == whose


def test_a3_as_released_every_validation_galaxy_scores_with_a_draw_for_each_batch(monkeypatch):
    seen, held_out = [], SPLITS["validation"]
    config = replace(TINY, epochs=1, selection="single_sample_error", as_released=("stale_selection",), batch_size=3)
    plain = train.predict_as_trained

    def watched(problem, model, images, *, samples, generator):
        seen.append((len(images), samples))
        return plain(problem, model, images, samples=samples, generator=generator)

    monkeypatch.setattr(train, "predict_as_trained", watched)
    tiny_fit(config)
    whole, parts = len(held_out), [min(3, len(held_out) - i) for i in range(0, len(held_out), 3)]
    assert len(parts) > 1
    assert seen == [(whole, 1), *((n, 1) for n in parts)]


def test_a_loss_that_is_not_finite_names_the_epoch_and_what_to_do():
    with pytest.raises(FloatingPointError, match=r"not finite in epoch \d.*lower learning_rate"):
        tiny_fit(replace(TINY, learning_rate=1e30, estimator="shared"))


def test_a_checkpoint_of_another_config_or_a_broken_one_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    tiny_fit(replace(TINY, epochs=1), checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another config"):
        tiny_fit(checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        tiny_fit(checkpoint=path)


def test_the_schedule_warms_up_and_ends_near_zero():
    factors = [learning_rate_factor("warmup_cosine", i, 100) for i in range(100)]
    assert factors[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert factors == sorted(factors[:5]) + sorted(factors[5:], reverse=True)
    assert factors[5 + 47] == pytest.approx((1 + math.cos(math.pi * 47 / 95)) / 2)
    assert learning_rate_factor("constant", 99, 100) == 1


def test_sigma_moves_at_its_own_learning_rate():
    """Adam's first step has the size of the learning rate (Kingma & Ba 2015): 10 x larger for rho."""
    config = replace(TINY, epochs=1, batch_size=100, schedule="constant", selection="last")
    start = train.start(config, device="cpu").state.model.state_dict()
    end = tiny_fit(config).model.state_dict()
    for name, rate in (("fc1.weight_mean", 1e-3), ("fc1.weight_rho", 1e-2)):
        step = (end[name] - start[name]).abs()
        assert step.max() == pytest.approx(rate, rel=1e-3)


def test_cuda_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match="sees no CUDA GPU"):
        fit(TINY, SPLITS, device="cuda", progress=False)


def test_bf16_trains_to_finite_numbers():
    trained = tiny_fit(replace(TINY, precision="bf16", epochs=1))
    assert math.isfinite(trained.history["train_nll"][0])
    logits = predict(trained.model, images(2), samples=2, generator=generator(0, "predict"))
    assert np.isfinite(logits).all()

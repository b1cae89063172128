"""The audit: what each slip of the released code, A1 to A8, does by itself; and what an objective costs in nats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import entr, expit, log_softmax
from scipy.stats import binom, norm
from torch import Tensor, nn

from radio_bnn.config import Config
from radio_bnn.data.galaxies import Galaxies
from radio_bnn.evaluation.metrics import METRICS, Metric, central_uce
from radio_bnn.evaluation.predictive import OVERLAPS, expected_entropy, overlap_index, predictive_mean
from radio_bnn.evaluation.resampling import Interval, calibrated_null, percentiles
from radio_bnn.inference.likelihood import categorical
from radio_bnn.inference.method import Batch
from radio_bnn.inference.objective import KL, negative_elbo, pac2_variance
from radio_bnn.inference.predict import predict
from radio_bnn.inference.resolve import resolve
from radio_bnn.inference.vi import network, objective
from radio_bnn.model.inputs import network_input, rotated
from radio_bnn.model.layers import draw_weights, one_draw, posterior
from radio_bnn.model.priors import TITLES, Prior, make_prior
from radio_bnn.model.sparse import Windows
from radio_bnn.paper import contrasts, tables
from radio_bnn.paper.contrasts import Point
from radio_bnn.paper.experiments import OBJECTIVES
from radio_bnn.runs import execute
from radio_bnn.runs.records import Posterior, Run
from radio_bnn.seeds import generator as stream

LAYER = "fc1.weight"
BOUND_PAIRS = 4  # pairs of draws behind one share of a gradient

ESTIMATORS = {"closed": "exact KL divergence", "mc": "estimated from draws", "mc_detached": "as released (A1)"}

# A1, A2: gradients


def variance_gradient(
    model: nn.Module, x: Tensor | Windows, labels: Tensor, config: Config, *, detached: bool, generator: torch.Generator
) -> float:
    """Norm of what the PAC-Bayes variance term adds to the gradient of a minibatch, relative to the rest, 0..inf.

    |grad(loss) - grad(nll + T KL)| / |grad(nll + T KL)| over all parameters, the minibatch being the whole training set
    of ``config`` (objective pac2 or pac2_t). ``detached``: as released (audit A2), exactly 0.
    """
    if config.objective == "elbo":
        raise ValueError("objective='elbo' has no variance term: choose pac2 or pac2_t")
    config, parameters = replace(config, as_released=("detached_variance",) if detached else ()), [*model.parameters()]
    terms = objective(resolve(config), model, Batch(x, labels, len(labels)), generator=generator)
    rest = negative_elbo(terms.nll, terms.kl, temperature=config.temperature, share=1.0)
    whole, rest = (_gradient(loss, parameters) for loss in (terms.loss, rest))
    return float((whole - rest).norm() / rest.norm())


def gradient_to_noise(
    model: nn.Module,
    x: Tensor | Windows,
    labels: Tensor,
    prior: Prior,
    *,
    temperatures: Sequence[float],
    share: float,
    draws: int,
    generator: torch.Generator,
    layer: str = LAYER,
) -> dict[str, dict[float, float]]:
    """Signal-to-noise of one step's gradient in the means of ``layer`` by KL estimator and temperature, 0..inf.

    |E g| / sqrt(E |g - E g|^2) with g the gradient of nll + T share KL at one draw of the weights; the minibatch stays
    the same, so the noise is that of the draws alone. |E g|^2 is estimated without bias, 0 where noise hides it.
    Returns {estimator: {T: ratio}}; "mc_detached" is as released (audit A1).
    """
    if draws < 2:
        raise ValueError(f"draws={draws} must be at least 2")
    q = {layer: posterior(model)[layer]}
    estimators = {name: kl for name, kl in KL.items() if name != "closed" or hasattr(prior, "kl")}
    likelihood, complexity = [], {name: [] for name in estimators}
    for _ in range(draws):
        with one_draw(model, generator) as draw:
            likelihood.append(_gradient(-categorical(model(x), labels).sum(), [q[layer].mean]))
        for name, kl in estimators.items():
            complexity[name].append(_gradient(kl(prior, q, draw), [q[layer].mean]))
    total, cost = torch.stack(likelihood), {name: torch.stack(rows) for name, rows in complexity.items()}
    return {name: {t: _ratio(total + t * share * rows) for t in temperatures} for name, rows in cost.items()}


def repeated_ratios(
    model: nn.Module, x: Tensor | Windows, labels: Tensor, prior: Prior, *, repeats: int, seed: int = 0, **how: Any
) -> dict[str, dict[float, Point]]:
    """``gradient_to_noise`` on ``repeats`` independent sets of draws, {title: {T: median and range, values}}.

    Titles are those of ESTIMATORS.
    """
    found = [
        gradient_to_noise(model, x, labels, prior, generator=stream(seed, "noise", epoch=k), **how)
        for k in range(repeats)
    ]
    return {
        title: {t: _over_repeats([ratios[name][t] for ratios in found]) for t in found[0][name]}
        for name, title in ESTIMATORS.items()
        if name in found[0]
    }


def _over_repeats(values: list[float]) -> Point:
    return Point(Interval(float(np.median(values)), min(values), max(values)), values)


def released_noise(
    model: nn.Module, prior: Prior, *, generator: torch.Generator, layer: str = LAYER
) -> tuple[float, float]:
    """Slope on -eps / sigma of what the released KL gradient in the means of ``layer`` adds, and the share it leaves.

    One draw w = mean + sigma eps; as derived (audit A1) the slope is 1 and nothing is left, up to rounding.
    """
    q = {layer: posterior(model)[layer]}
    mean, scale = q[layer]
    draw = draw_weights(q, generator)
    released, estimate = (_gradient(KL[name](prior, q, draw), [mean]) for name in ("mc_detached", "mc"))
    added, formula = released - estimate, (-(draw[layer] - mean) / scale.square()).detach().flatten()
    slope = added @ formula / (formula @ formula)
    return float(slope), float((added - slope * formula).norm() / added.norm())


def progress(ratio: float) -> float:
    """The mean step of Adam over its learning rate, r / sqrt(1 + r^2), for a gradient of signal-to-noise ``ratio``.

    Adam divides by the root mean square of the gradient, here at rest: signal s and noise s / r.
    """
    return ratio / math.hypot(1, ratio)


def variance_share(
    model: nn.Module, x: Tensor | Windows, labels: Tensor, config: Config, *, n_train: int, draws: int
) -> Interval:
    """``variance_gradient`` in percent for a minibatch of ``n_train`` images: the median and the range over ``draws``.

    Each takes its own pair of draws of the weights; the KL divergence has the weight T len(labels) / n_train.
    """
    config, noise = replace(config, temperature=config.temperature * len(labels) / n_train), stream(0, "noise")
    found = [100 * variance_gradient(model, x, labels, config, detached=False, generator=noise) for _ in range(draws)]
    return _over_repeats(found).interval


def variance_shares(
    models: Mapping[str, nn.Module], x: Tensor | Windows, labels: Tensor, config: Config, **how: int
) -> dict[str, dict[str, Interval | float]]:
    """``variance_share`` of both bounds for each of ``models`` by title, and what it is as released."""
    bounds = {title: changes for title, changes in OBJECTIVES.items() if changes}
    found: dict[str, dict[str, Interval | float]] = {}
    for name, model in models.items():
        each = {t: variance_share(model, x, labels, replace(config, **bound), **how) for t, bound in bounds.items()}
        bound = replace(config, objective="pac2")
        released = variance_gradient(model, x, labels, bound, detached=True, generator=stream(0, "noise"))
        found[name] = each | {"as released (A2)": 100 * released}
    return found


def variance_term(model: nn.Module, images: np.ndarray, labels: np.ndarray, *, draws: int) -> dict[str, float]:
    """The expected NLL of images (N, H, W), and what both bounds subtract from it, sum V, in nats, by title.

    The mean over ``draws`` pairs of independent draws of the weights, the same for all.
    """
    logits = predict(model, images, samples=2 * draws, generator=stream(0, "predict"))
    chosen = torch.as_tensor(log_softmax(logits.astype(np.float64), axis=-1)[:, np.arange(len(labels)), labels])
    bounds = {title: changes["objective"] == "pac2_t" for title, changes in OBJECTIVES.items() if changes}
    terms = {t: pac2_variance(chosen[:draws], chosen[draws:], tight=tight) for t, tight in bounds.items()}
    return {"NLL": float(-chosen.sum(1).mean())} | {t: float(term.sum(1).mean()) for t, term in terms.items()}


def bound_table(records: Mapping[str, Posterior | None], galaxies: Galaxies, *, draws: int) -> str:
    """What the bounds would change for stored networks on their own training ``galaxies``, one row each, as Markdown.

    ``variance_term``, and the ``variance_share`` of PAC² in the gradient of the first minibatch.
    """
    rows, bounds = [], [title for title, changes in OBJECTIVES.items() if changes]
    for title, record in records.items():
        if record is None:
            rows.append([title, *["not run"] * (2 + len(bounds))])
            continue
        config, model = record.config, execute.network(record)
        config = replace(config, objective="pac2", precision="float32", estimator="shared")
        terms = variance_term(model, galaxies.images, galaxies.labels, draws=draws)
        x, y = galaxies.images[: config.batch_size], galaxies.labels[: config.batch_size]
        share = variance_share(
            model, network_input(x), torch.as_tensor(y), config, n_train=len(galaxies), draws=BOUND_PAIRS
        )
        rows.append([title, *(f"{term:.2f}" for term in terms.values()), f"{share:.2g}"])
    subtracts = [f"{title} subtracts [nats]" for title in bounds]
    return tables.markdown(["network", "NLL [nats]", *subtracts, "change of a gradient [%]"], rows)


# A3: which network is kept


def falling_error(epochs: int, within: float, *, first: float = 0.5, last: float = 0.12) -> np.ndarray:
    """A toy: true errors (E,) that fall from ``first`` to ``last``, by the factor e ``within`` so many epochs."""
    return last + (first - last) * np.exp(-np.arange(epochs) / within)


def selection(error: np.ndarray, **how: Any) -> dict[str, np.ndarray]:
    """P(the network of each epoch is kept) under both rules; ``how`` as in ``single_draw_scores``."""
    scores = single_draw_scores(error, **how)
    return {"correct": kept_if_correct(scores), "as released (A3)": kept_as_released(scores)}


def error_lost(error: np.ndarray, **how: Any) -> float:
    """Expected true error, in points, of the network kept as released above that of the one kept if correct."""
    correct, released = selection(error, **how).values()
    return 100 * float((released - correct) @ error)


def lost_by_pace(paces: Sequence[float], epochs: int, **how: Any) -> dict[float, float]:
    """``error_lost`` of errors that fall by e within each of ``paces`` epochs."""
    return {pace: error_lost(falling_error(epochs, pace), **how) for pace in paces}


def single_draw_scores(error: np.ndarray, *, galaxies: int, spread: float = 1.0) -> np.ndarray:
    """P(k of the ``galaxies`` are misclassified by one draw of the network of each epoch); error (E,) -> (E, n + 1).

    The share ``spread`` of the galaxies is drawn anew by every draw of the weights, each wrong with the error of the
    epoch; of the others the same share is wrong in every draw. 1: binomial; 0: every draw scores alike. The variance is
    ``spread`` times the binomial one.
    """
    anew = round(spread * galaxies)
    settled = np.rint((galaxies - anew) * error).astype(int)
    return binom.pmf(np.arange(galaxies + 1) - settled[:, None], anew, error[:, None])


def kept_if_correct(scores: np.ndarray) -> np.ndarray:
    """P(the network of each epoch is kept) if the current network is scored and must beat the best; (E, K) -> (E,)."""
    above = scores[:, ::-1].cumsum(axis=1)[:, ::-1]  # P(score >= k)
    before = np.cumprod(np.vstack([np.ones(scores.shape[1]), above[:-1]]), axis=0)
    beyond = np.hstack([before[:, 1:], np.zeros((len(scores), 1))])  # all earlier ones > k
    beyond[0] = 1.0
    after = np.cumprod(np.vstack([np.ones(scores.shape[1]), above[:0:-1]]), axis=0)[::-1]
    return (scores * beyond * after).sum(axis=1)


def kept_as_released(scores: np.ndarray) -> np.ndarray:
    """The same as released (audit A3); (E, K) -> (E,).

    The network of the first epoch is scored and kept. From then on the kept one is scored again, and where that beats
    the best score so far the current network is kept in its place, with that score as the best.
    """
    below = scores.cumsum(axis=1) - scores  # P(score < k)
    state = np.zeros_like(scores)  # P(which network is kept, best score)
    state[0] = scores[0]
    for epoch in range(1, len(scores)):
        kept = state[:epoch]
        better = kept.sum(axis=1, keepdims=True) - kept.cumsum(axis=1)  # best score > k
        state[epoch] = (better * scores[:epoch]).sum(axis=0)
        kept *= 1 - below[:epoch]
    return state.sum(axis=1)


def spread_over_draws(runs: Sequence[Run]) -> float:
    """Variance over draws of the single-draw validation error over the binomial one, the mean of the runs."""
    found = []
    for run in runs:
        wrong = (run.logits_of("validation").argmax(axis=-1) != run.labels["validation"]).mean(axis=1)
        found.append(wrong.var() / (wrong.mean() * (1 - wrong.mean()) / len(run.labels["validation"])))
    return float(np.mean(found))


def quantiles(chances: np.ndarray, shares: Sequence[float] = (0.5, 0.05, 0.95)) -> Interval:
    """The epoch, counted from 1, below which each of three shares of the ``chances`` (E,) lies: median and ends."""
    return Interval(*(int(np.searchsorted(chances.cumsum(), share)) + 1 for share in shares))


# A4: mixtures


def first_infinite(prior: str) -> float:
    """The smallest |w| in float32 at which the density of a mixture, summed before the log, is 0 (audit A4)."""
    summed, low, high = make_prior(prior, summed=True), 0.0, 1e6
    while np.float32(low) < np.nextafter(np.float32(high), np.float32(0)):
        middle = float(np.float32((low + high) / 2))
        infinite = bool(torch.isinf(summed.log_prob(torch.tensor(middle))))
        low, high = (low, middle) if infinite else (middle, high)
    return high


def summed_difference(prior: str, w: Tensor) -> float:
    """The largest difference of d log p / dw between sums in linear and in log space, over the gradient's norm."""
    w = w.detach().requires_grad_(True)
    gradients = [_gradient(make_prior(prior, summed=s).log_prob(w).sum(), [w]) for s in (True, False)]
    return float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max())


def mixture_densities(names: Sequence[str], w: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """log p(w) in float32 of each mixture, summed in log space and as released: {title: (w, log p)}."""
    how = {"log space": False, "as released": True}
    return {
        f"{TITLES[name]}, {title}": (w, make_prior(name, summed=summed).log_prob(w.float()))
        for name in names
        for title, summed in how.items()
    }


# A5: names


def minus(a: Metric, b: Metric) -> Metric:
    """a - b on the same galaxies, of two metrics with equally many columns."""
    return Metric(
        lambda logits, labels: (*a.columns(logits, labels), *b.columns(logits, labels)),
        lambda *columns: a.reduce(*columns[: len(columns) // 2]) - b.reduce(*columns[len(columns) // 2 :]),
    )


# Title: (as named, as released, format).
NAMED: Mapping[str, tuple[Metric, Metric, str]] = {
    "average entropy [nats]": (
        METRICS["expected_entropy"],
        Metric(lambda logits, _: (expected_entropy(logits, as_released=True),)),
        ".3f",
    ),
    "UCE on 90 % of the draws [%]": (central_uce(share=0.90), central_uce(), ".1f"),
    "UCE on all draws [%]": (METRICS["uce_percent"], central_uce(), ".1f"),
}


def named_table(runs: Sequence[Run | None]) -> str:
    """Metrics under their names and as released, with the difference and its interval, as Markdown (audit A5)."""
    found, rows = contrasts.compare(runs=runs), []
    for title, (named, released, spec) in NAMED.items():
        cells = [found and f"{found.estimate(m, runs=1.0).value:{spec}}" for m in (named, released)]
        change = found and f"{found.estimate(minus(released, named), runs=1.0).interval():+{spec}}"
        rows.append([title, *(cell or "not run" for cell in (*cells, change))])
    return tables.markdown(["metric", "as named", "as released", "difference"], rows)


def uce_by_share(runs: Sequence[Run], shares: Sequence[float]) -> np.ndarray:
    """The UCE in percent of the test galaxies on each central share of the draws, (runs, shares)."""
    metrics = [central_uce(share=share) for share in shares]
    return np.array([[m(run.logits_of("test"), run.labels["test"].astype(int)) for m in metrics] for run in runs])


def logit_overlap(logits: np.ndarray) -> dict[str, str]:
    """The share of logits (S, N, C) outside [0, 1], and their mean overlap index on the whole line and as released."""
    outside = 100 * float(((logits < 0) | (logits > 1)).mean())
    found = {d: float(overlap_index(logits, space="logits", definition=d).mean()) for d in OVERLAPS}
    return {
        "logits outside [0, 1]": f"{outside:.0f} %",
        "overlap of the logits": f"{found['integral']:.2f}",
        "as released": f"{found['as_released']:.2f}",
    }


# A6: turned test images


def predict_turned(model: nn.Module, images: np.ndarray, *, views: int, samples: int, seed: int = 0) -> np.ndarray:
    """Logits (1 + views, S, N, C) of images (N, H, W), upright first, then each turned by an angle of its own.

    All views see the same draws of the weights.
    """
    turned = [images, *(rotated(images, stream(seed, "view", epoch=k)) for k in range(views))]
    return np.stack([predict(model, x, samples=samples, generator=stream(seed, "predict")) for x in turned])


# A7: how far a scale can go


def reach(config: Config, n_train: int) -> float:
    """How far log sigma can go: learning rate times steps, since a step of Adam is about its rate at most."""
    return config.rho_learning_rate * config.epochs * -(-n_train // config.batch_size)


def needed(config: Config) -> float:
    """How far log sigma is from the middle of its start to the scale of a Gaussian prior."""
    return math.log(make_prior(config.prior, scale=config.prior_scale).scale) - middle(config)


def middle(config: Config) -> float:
    """The middle of the range in which log sigma starts."""
    return (config.init_rho_low + config.init_rho_high) / 2


def moved(records: Sequence[Posterior]) -> np.ndarray:
    """How far log sigma of every weight has moved from the middle of its start, all ``records`` joined, (K,)."""
    return np.concatenate(
        [
            values.astype(np.float32).ravel() - middle(record.config)
            for record in records
            for name, values in record.parameters.items()
            if name.endswith("_rho")
        ]
    )


# A8: the calibrated classifier


def calibrated(width: float, n: int) -> np.ndarray:
    """Logits (1, n, 2) of one draw whose differences are the quantiles of N(0, width^2)."""
    difference = width * norm.ppf((np.arange(n) + 0.5) / n)
    return np.stack([difference, np.zeros(n)], axis=-1)[None]


def calibrated_limit(width: float, n: int = 20_000) -> tuple[float, float]:
    """Error and UCE in percent of ``calibrated`` logits and infinitely many galaxies: E[H / ln 2 - 2 min(p, 1 - p)].

    Entropy in bits is nowhere below twice the error, so that no bin can cancel another.
    """
    p = expit(calibrated(width, n)[0, :, 0])
    error = np.minimum(p, 1 - p)
    return 100 * float(error.mean()), 100 * float(((entr(p) + entr(1 - p)) / math.log(2) - 2 * error).mean())


def width_for(error: float) -> float:
    """The width at which ``calibrated`` logits err in ``error`` percent of galaxies, between 0.1 % and 49 %."""
    return brentq(lambda width: calibrated_limit(width)[0] - error, 0.05, 1000.0, xtol=1e-4)


def calibrated_uce(width: float, n: int, *, resamples: int = 1000) -> Interval:
    """The UCE in percent of ``n`` galaxies of ``calibrated`` logits: the median and 95 % of its null."""
    null = calibrated_null("uce_percent", calibrated(width, n), resamples=resamples)
    return percentiles(float(np.median(null)), null, 0.95)


def null_by_error(errors: Sequence[float], n: int) -> tuple[dict[float, Interval], dict[float, float]]:
    """``calibrated_uce`` of ``n`` galaxies, and ``calibrated_limit``, for each error in percent."""
    widths = {error: width_for(error) for error in errors}
    return (
        {error: calibrated_uce(width, n) for error, width in widths.items()},
        {error: calibrated_limit(width)[1] for error, width in widths.items()},
    )


def null_by_size(error: float, sizes: Sequence[int]) -> dict[int, Interval]:
    """``calibrated_uce`` at one error in percent for each number of galaxies."""
    width = width_for(error)
    return {n: calibrated_uce(width, n, resamples=400) for n in sizes}


def stored_uce(runs: Sequence[Run]) -> dict[str, np.ndarray]:
    """Of each run, in percent of its test galaxies: error, the error that its probabilities promise, UCE and null."""
    found = {
        name: np.array([run.metric(f"{metric}_percent").value for run in runs])
        for name, metric in {"error": "error", "uce": "uce", "null": "uce_null"}.items()
    }
    promised = [100 * predictive_mean(run.logits_of("test")).min(axis=-1).mean() for run in runs]
    return found | {"promised": np.array(promised)}


# Cost


def budget(n_train: int, *, classes: int = 2) -> float:
    """NLL of guessing, N ln C in nats: what labels cost whoever knows nothing of them."""
    return n_train * math.log(classes)


def nll_of_the_prior(prior: Prior, images: np.ndarray, labels: np.ndarray, *, draws: int, seed: int = 0) -> float:
    """E_p(w)[-log p(y | x, w)] per galaxy, nats, over draws from a Gaussian ``prior``: what not learning costs.

    The average of the predictions of these draws guesses; each of them is sure of something.
    """
    model = network(Config.published(), stream(seed, "init"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(math.log(prior.scale) if name.endswith("_rho") else 0.0)
    logits = predict(model, images, samples=draws, generator=stream(seed, "predict"))
    return float(-log_softmax(logits, axis=-1)[:, np.arange(len(labels)), labels].mean())


def cost(history: Mapping[str, Sequence[float]], *, temperature: float, n_train: int, weights: int) -> dict[str, float]:
    """The objective of the last epoch of a ``Fit.history`` in nats, term by term, beside the NLL of guessing."""
    nll, kl = n_train * history["train_nll"][-1], weights * history["kl_per_weight"][-1]
    terms = {"NLL of the training galaxies": nll, "KL divergence": kl, "T × KL divergence": temperature * kl}
    return terms | {"objective J": nll + temperature * kl, "guessing, N ln 2": budget(n_train)}


def _gradient(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)])


def _ratio(gradients: Tensor) -> float:
    noise = gradients.var(0).sum()
    signal = gradients.mean(0).square().sum() - noise / len(gradients)
    return float((signal.clamp(min=0) / noise).sqrt())

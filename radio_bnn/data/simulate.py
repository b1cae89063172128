"""Radio galaxies as FIRST would see them, drawn from a physical recipe with a known Fanaroff-Riley ratio.

A galaxy is a core and two sides. Each side is a jet that ends in a plume or a lobe and has its bright spot at a
fraction ``ratio`` of its length: near the core and edge-darkened below 1/2 (FRI), at the far end above it (FRII).
Simulated annotators read that ratio with noise; they label the galaxy, and disagree about some. The sky is a sum of
circular Gaussians, so that its convolution with the beam is exact. Angles in arcsec, flux densities in mJy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit, ndtr

from radio_bnn.data.galaxies import CLASSES, COUNTS, PIXEL_ARCSEC, Galaxies
from radio_bnn.progress import bar

CUTOUT_SIZE = 300
BEAM = 5.4 / np.sqrt(8 * np.log(2))  # standard deviation of FIRST's 5.4" (FWHM) beam
NOISE = 0.15  # mJy/beam
FLUX_LIMIT = 30.0  # 40 mJy for MiraBest's parent sample, less what FIRST resolves out
FIELD_LIMIT = 1.0  # mJy, FIRST's catalogue limit
SIZE_LIMITS = (6.0, 270.0)  # the range of MiraBest's largest angular sizes
MIN_WIDTH = 1.8  # standard deviation of the smallest structure outside core and hot spots
N_BLOBS = 30  # per side
N_RIPPLES = 80
N_ANNOTATORS = 5
READING_NOISE = 0.1  # standard deviation of one annotator's reading of the ratio
KINDS = {0: "standard", 1: "double-double", 2: "wide-angle tail", 4: "head-tail"}
BEND = {"wide-angle tail": (35, 70), "head-tail": (75, 95)}  # degrees by which both jets are swept back


@dataclass(frozen=True)
class Latent:
    """What decides a galaxy's label: its kind, the ratio of each side, and each side's share of the length."""

    kind: str
    side_ratios: tuple[float, float]
    arms: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Fanaroff-Riley ratio: distance between the two bright spots over total extent, along the jets; 0..1."""
        return float(np.dot(self.side_ratios, self.arms))


def simulate(*, counts: Mapping[int, tuple[int, int]] | None = None, seed: int = 0) -> Galaxies:
    """Simulated galaxies, ``counts[code] = (train, test)`` of each class (default: MiraBest's), in shuffled order.

    ``ratio`` is the latent Fanaroff-Riley ratio; ``p_fri`` is the probability, given that ratio and not the image,
    that one annotator calls the galaxy FRI. Deterministic in ``seed``.
    Raises ``ValueError`` for an unknown class code, a negative number, or a class that cannot be filled.
    """
    counts = COUNTS if counts is None else counts
    check_counts(counts)
    rng = np.random.default_rng(seed)
    drawn = draw_labelled({code: sum(pair) for code, pair in counts.items()}, rng)
    drawn = [drawn[i] for i in rng.permutation(len(drawn))]
    code, latents = np.array([code for code, _ in drawn]), [latent for _, latent in drawn]
    return _observed(latents, code, {code: test for code, (_, test) in counts.items()}, rng)


def voted(n: int, *, labellers: int, seed: int = 0) -> Galaxies:
    """``n`` simulated galaxies as they come, each seen by so many labellers, who vote by their own readings.

    The label is the vote of the first one, so that FRI has the probability ``p_fri`` given the ratio; the galaxy is
    confident where all agree. One in eight belongs to the test batch. Deterministic in ``seed``. Raises ``ValueError``
    for no galaxy or no labeller.
    """
    if n < 1 or labellers < 1:
        raise ValueError(f"n={n} and labellers={labellers} must be at least 1")
    rng = np.random.default_rng(seed)
    latents = [draw_latent("standard", rng) for _ in range(n)]
    votes = rng.random((n, labellers)) < probability_fri([latent.ratio for latent in latents])[:, None]
    code = np.where(votes[:, 0], 100, 200) + np.where((votes == votes[:, :1]).all(axis=1), 0, 10)
    return _observed(latents, code, {c: int((code == c).sum()) // 8 for c in (100, 110, 200, 210)}, rng)


def _observed(latents: list[Latent], code: np.ndarray, tested: Mapping[int, int], rng: np.random.Generator) -> Galaxies:
    """Galaxies with their images; of every class the first ``tested`` are the test batch."""
    from radio_bnn.data.cutouts import preprocess

    n = len(latents)
    size = np.array([draw_size(latent, rng) for latent in latents])
    flux = draw_flux(n, FLUX_LIMIT, rng)
    todo = bar(zip(latents, size, flux, strict=True), total=n, desc="simulating galaxies", show=n >= 200)
    images = np.stack([preprocess(observe(*galaxy, rng)) for galaxy in todo])
    ratio = np.array([latent.ratio for latent in latents])
    return Galaxies(
        images=images,
        code=code,
        in_test_batch=first_of_each(code, tested),
        name=np.array([f"sim_{i:06d}" for i in range(n)]),
        **draw_catalogue(ratio, rng),
        size=size,
        ratio=ratio,
        p_fri=probability_fri(ratio),
    )


def scaled_counts(n: int) -> dict[int, tuple[int, int]]:
    """MiraBest's class counts scaled to exactly ``n`` galaxies by largest remainders; rare classes may get none."""
    if n < 1:
        raise ValueError(f"n is {n}: expected at least 1 galaxy")
    share = np.array(list(COUNTS.values())).ravel()
    exact = n * share / share.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return {code: (int(train), int(test)) for code, (train, test) in zip(COUNTS, counts.reshape(-1, 2), strict=True)}


def check_counts(counts: Mapping[int, tuple[int, int]]) -> None:
    """Raise ``ValueError`` unless keys are classes of MiraBest and values (train, test) >= 0 that are not all 0."""
    for code, pair in counts.items():
        if code not in CLASSES:
            raise ValueError(f"unknown class code {code!r}: choose from {', '.join(map(str, CLASSES))}")
        if np.shape(pair) != (2,) or not all(isinstance(n, int | np.integer) and n >= 0 for n in pair):
            raise ValueError(f"counts[{code}] is {pair!r}: expected (train, test), two integers of at least 0")
    if not any(map(any, counts.values())):
        raise ValueError("counts ask for no galaxy at all: give at least one class a positive number")


def first_of_each(code: np.ndarray, number: Mapping[int, int]) -> np.ndarray:
    """True for the first ``number[c]`` galaxies of every class c; (N,) bool."""
    chosen = np.zeros(len(code), bool)
    for c, n in number.items():
        chosen[np.flatnonzero(code == c)[:n]] = True
    return chosen


# The population and its annotators


def probability_fri(ratio: np.ndarray) -> np.ndarray:
    """Probability that one annotator calls a galaxy FRI, Phi((1/2 - ratio) / READING_NOISE); falls with ratio."""
    return ndtr((0.5 - np.asarray(ratio)) / READING_NOISE)


def draw_latent(kind: str, rng: np.random.Generator) -> Latent:
    """A galaxy of this kind before anybody has labelled it: bent ones are FRI, restarted ones (double-double) FRII."""
    fri, frii = rng.beta(4, 8), rng.beta(9, 3)
    chance = {"standard": 0.5, "double-double": 0.0}.get(kind, 1.0)
    same = fri if rng.random() < chance else frii
    arm = np.clip(rng.normal(0.5, 0.08), 0.2, 0.8)
    return Latent(kind, (fri, frii) if kind == "hybrid" else (same, same), (arm, 1 - arm))


def annotate(latent: Latent, rng: np.random.Generator) -> int | None:
    """Class code by majority of the annotators, confident if all agree; ``None`` if MiraBest has no such class.

    Annotators of a hybrid read both sides and vote on whether these fall on different sides of 1/2.
    """
    if latent.kind == "hybrid":
        readings = latent.side_ratios + rng.normal(0, READING_NOISE, (N_ANNOTATORS, 2))
        votes = (readings[:, 0] < 0.5) != (readings[:, 1] < 0.5)
        code = 300 if votes.mean() > 0.5 else 0
    else:
        votes = latent.ratio + rng.normal(0, READING_NOISE, N_ANNOTATORS) < 0.5
        code = (100 if votes.mean() > 0.5 else 200) + next(d for d, kind in KINDS.items() if kind == latent.kind)
    code += 0 if votes.all() or not votes.any() else 10
    return code if code in CLASSES else None


def draw_labelled(wanted: Mapping[int, int], rng: np.random.Generator) -> list[tuple[int, Latent]]:
    """Draw and annotate galaxies until every class code has its number (rejection); list of (code, latent)."""
    missing, accepted = Counter(wanted), []
    for code, n in wanted.items():
        kind = "hybrid" if code // 100 == 3 else KINDS[code % 10]
        for _ in range(1000 + 100 * n):
            if missing[code] == 0:
                break
            latent = draw_latent(kind, rng)
            label = annotate(latent, rng)
            if missing[label] > 0:
                accepted.append((label, latent))
                missing[label] -= 1
        else:
            raise ValueError(f"class {code} ({CLASSES[code]}) cannot be filled: {missing[code]} of {n} never came up")
    return accepted


def draw_flux(n: int, limit: float, rng: np.random.Generator) -> np.ndarray:
    """Flux densities (n,) from ``limit`` to 50 times ``limit`` with N(>S) proportional to 1/S."""
    return limit / rng.uniform(0.02, 1, n)


def draw_size(latent: Latent, rng: np.random.Generator) -> float:
    """Largest angular size: lognormal, FRIIs being more distant and smaller; double-doubles are seen when large."""
    low, high = SIZE_LIMITS if latent.kind != "double-double" else (60.0, SIZE_LIMITS[1])
    while True:
        size = np.exp(rng.normal(np.log(130) - 1.7 * latent.ratio, 0.55 + 0.45 * latent.ratio))
        if low < size < high:
            return float(size)


def draw_catalogue(ratio: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Positions in the northern FIRST footprint (degrees) and redshifts (0.03 to 0.55), each (N,)."""
    n = len(ratio)
    dec = np.degrees(np.arcsin(rng.uniform(*np.sin(np.radians([-8, 64])), n)))
    redshift = np.exp(rng.normal(np.log(0.15) + 0.4 * ratio, 0.5)).clip(0.03, 0.55)
    return {"ra": rng.uniform(110, 260, n), "dec": dec, "redshift": redshift}


# The sky: components (K, 4) are x, y, flux, and the standard deviation of a circular Gaussian


def draw_source(latent: Latent, size: float, flux: float, rng: np.random.Generator) -> np.ndarray:
    """Components (K, 4) of a galaxy with its core at the origin, axis along x, core first; ``size`` end to end."""
    arms = np.array(latent.arms)
    share = np.exp(rng.laplace(0, 0.25, 2)) / arms  # the shorter side is the brighter one
    bends, turn = draw_bends(latent, rng)
    pairs = [(1.0, 1.0)] if latent.kind != "double-double" else [(1.0, 0.6), (rng.uniform(0.25, 0.45), 0.4)]
    sides, ends = [], []
    for i, heading in enumerate(np.array([0, np.pi]) + rng.normal(0, 0.05, 2)):
        for reach, part in pairs:
            side = draw_side(latent.side_ratios[i], heading, bends[i], turn, rng)
            sides.append(side * [*2 * [arms[i] * reach], part * share[i] / share.sum(), arms[i] * reach])
        ends.append(arms[i] * jet_path(heading, bends[i], turn, np.linspace(0, 1, 20)))
    track = np.concatenate(ends)
    scale = size / np.linalg.norm(track[:, None] - track, axis=-1).max()
    core = draw_core_share(latent.ratio, rng)
    source = np.vstack([[0, 0, core, 0], np.concatenate(sides) * [1, 1, 1 - core, 1]]) * [scale, scale, flux, scale]
    source[1:, 3] = np.hypot(source[1:, 3], MIN_WIDTH)
    return source


def draw_bends(latent: Latent, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Bends (2,) of the two jets in radians, and the fraction of the jet over which they build up."""
    if latent.kind in BEND:
        sweep = np.radians(rng.uniform(*BEND[latent.kind]))
        return sweep * np.array([1, -1]) + rng.normal(0, 0.1, 2), rng.uniform(0.2, 0.6)
    return rng.normal(0, np.where(np.array(latent.side_ratios) < 0.5, 0.5, 0.1)), rng.uniform(0.3, 1.0)


def draw_core_share(ratio: float, rng: np.random.Generator) -> float:
    """Share of the flux in the unresolved core, 0..0.8: brighter in FRIs, often undetected in FRIIs."""
    fri = probability_fri(ratio)
    detected = rng.random() < 0.5 + 0.5 * fri
    return float(detected * min(0.8, np.exp(rng.normal(np.log(0.02 + 0.03 * fri), 1.0))))


def jet_path(heading: float, bend: float, turn: float, s: np.ndarray) -> np.ndarray:
    """Positions (K, 2) at path lengths ``s`` (K,) of a jet of unit length that turns by ``bend`` within ``turn``."""
    grid = np.linspace(0, 1, 65)
    angle = heading + bend * np.clip((grid[1:] + grid[:-1]) / 2 / turn, 0, 1)
    steps = np.array([np.cos(angle), np.sin(angle)]) / 64
    x, y = np.hstack([np.zeros((2, 1)), steps.cumsum(axis=1)])
    return np.stack([np.interp(s, grid, x), np.interp(s, grid, y)], axis=1)


def draw_side(ratio: float, heading: float, bend: float, turn: float, rng: np.random.Generator) -> np.ndarray:
    """One side of unit length and unit flux: first a bright spot at ``ratio``, then patchy diffuse emission.

    FRI: a jet, then a widening plume from the bright spot outwards. FRII: a lobe around and behind the hot spot.
    """
    n = N_BLOBS
    frii = expit((ratio - 0.5) / 0.04)
    lobe = rng.random(n) < frii
    jet = rng.random(n) < np.where(lobe, 0.05, rng.uniform(0.05, 0.4))
    s_jet = rng.uniform(0, max(ratio, 0.1), n)
    s_plume = ratio + (1 - ratio) * rng.beta(1.4, 1, n)
    s_lobe = ratio - 0.8 * ratio * rng.beta(1, 3, n) + (1 - ratio) * rng.beta(1, 2, n)
    s = np.select([jet, lobe], [s_jet, s_lobe], s_plume)
    spread = np.select([jet, lobe], [0.02, rng.uniform(0.05, 0.25)], rng.uniform(0.05, 0.25) * s)
    xy = jet_path(heading, bend, turn, s) + 0.8 * spread[:, None] * rng.normal(0, 1, (n, 2))
    flux = rng.gamma(0.5, 1, n)
    spot = rng.uniform(0.02, 0.15) * (1 - frii) + rng.uniform(0, 0.2) * frii
    diffuse = np.column_stack([xy, (1 - spot) * flux / flux.sum(), np.maximum(0.7 * spread, 0.02)])
    return np.vstack([[*jet_path(heading, bend, turn, np.array([ratio]))[0], spot, 0.02], diffuse])


def draw_field(rng: np.random.Generator) -> np.ndarray:
    """Components (K, 4) of unrelated sources, 100 per square degree, and of neighbours in the galaxy's cluster."""
    half = CUTOUT_SIZE * PIXEL_ARCSEC / 2
    xy = np.vstack([rng.uniform(-half, half, (rng.poisson(2.3), 2)), rng.normal(0, 60, (rng.poisson(0.7), 2))])
    return np.column_stack([xy, draw_flux(len(xy), FIELD_LIMIT, rng), rng.uniform(0, 5, len(xy))])


def draw_sidelobes(source: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Components (K, 4) that cleaning left of the source: ripples along the three arms of the VLA's snapshot beam."""
    x, y, *_ = source[np.argmax(source[:, 2] / (BEAM**2 + source[:, 3] ** 2))]
    arm = np.radians(rng.choice([0, 60, 120], N_RIPPLES) + rng.normal(0, 6))
    distance = rng.normal(0, 70, N_RIPPLES)
    amplitude = source[:, 2].sum() * min(0.0007 * rng.lognormal(0, 1.2), 0.008)
    ripple = amplitude * rng.normal(0, 1, N_RIPPLES) * np.exp(-np.abs(distance) / 150)
    return np.column_stack([x + distance * np.cos(arm), y + distance * np.sin(arm), ripple, np.zeros(N_RIPPLES)])


def rotate(components: np.ndarray, angle: float) -> np.ndarray:
    """The same components turned by ``angle`` radians about the origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.hstack([components[:, :2] @ np.array([[cos, sin], [-sin, cos]]), components[:, 2:]])


# The telescope


def observe(latent: Latent, size: float, flux: float, rng: np.random.Generator) -> np.ndarray:
    """The cutout (300, 300) in mJy/beam that FIRST would hold of this galaxy, at a random position angle; float32."""
    source = rotate(draw_source(latent, size, flux, rng), rng.uniform(0, 2 * np.pi))
    sky = np.vstack([source, draw_field(rng), draw_sidelobes(source, rng)])
    return (render(sky) + draw_noise(rng)).astype(np.float32)


def draw_cutout(code: int, *, seed: int = 0) -> np.ndarray:
    """One cutout (300, 300) in mJy/beam of a galaxy of class ``code``, before any preprocessing; float32."""
    check_counts({code: (1, 0)})
    rng = np.random.default_rng(seed)
    [(_, latent)] = draw_labelled({code: 1}, rng)
    return observe(latent, draw_size(latent, rng), float(draw_flux(1, FLUX_LIMIT, rng)[0]), rng)


def render(components: np.ndarray) -> np.ndarray:
    """Noise-free cutout (300, 300) in mJy/beam, origin at its centre (149.5, 149.5), rows along y.

    sum_k S_k b^2 / (b^2 + w_k^2) exp(-r_k^2 / (2 (b^2 + w_k^2))), with beam b.
    """
    x, y, flux, width = components.T[..., None]
    variance = BEAM**2 + width**2
    grid = (np.arange(CUTOUT_SIZE) - (CUTOUT_SIZE - 1) / 2) * PIXEL_ARCSEC
    along_x, along_y = np.exp(-((grid - x) ** 2) / (2 * variance)), np.exp(-((grid - y) ** 2) / (2 * variance))
    return (flux * BEAM**2 / variance * along_y).T @ along_x


def draw_noise(rng: np.random.Generator) -> np.ndarray:
    """Noise (300, 300) in mJy/beam, correlated like the beam, as in any image made from visibilities."""
    pixels = BEAM / PIXEL_ARCSEC / np.sqrt(2) * rng.normal(1.05, 0.15)
    white = rng.standard_normal((CUTOUT_SIZE, CUTOUT_SIZE))
    noise = gaussian_filter(white, pixels, mode="wrap") * 2 * np.sqrt(np.pi) * pixels
    return NOISE * rng.normal(1, 0.1) * noise

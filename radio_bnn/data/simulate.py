"""Radio galaxies as FIRST would see them, drawn from a physical recipe with a known Fanaroff-Riley ratio.

A galaxy is a core and two sides. Each side is a jet that ends in a plume or a lobe and carries a knot at a fraction
``ratio`` of its length: near the core and edge-darkened below 1/2 (FRI), a hot spot at the far end above it (FRII).
Simulated annotators read that ratio with noise; they label the galaxy and disagree about some. The sky is a sum of
circular Gaussians, so its convolution with the beam is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit, ndtr
from tqdm import tqdm

from radio_bnn.data.galaxies import CLASSES, COUNTS, PIXEL_ARCSEC, Galaxies

CUTOUT_SIZE = 300
BEAM = 5.4 / np.sqrt(8 * np.log(2))  # arcsec, standard deviation of FIRST's 5.4" (FWHM) beam
NOISE = 0.15  # mJy/beam
FLUX_LIMIT = 30.0  # mJy at 1.4 GHz: 40 in MiraBest's parent sample, less what FIRST resolves out
MIN_WIDTH = 1.5  # arcsec, standard deviation of the smallest structure outside the core
N_ANNOTATORS = 5
READING_NOISE = 0.1  # standard deviation of one annotator's reading of the ratio
SIZE_LIMITS = (6.0, 270.0)  # arcsec
MAX_DRAWS = 10_000
KINDS = {0: "standard", 1: "double-double", 2: "wide-angle tail", 4: "head-tail"}
BEND = {"wide-angle tail": (35, 70), "head-tail": (75, 95)}  # degrees by which both jets are swept back


@dataclass(frozen=True)
class Latent:
    """What decides a galaxy's look and label: its kind, the ratio of each side, and the sides' share of the length."""

    kind: str
    side_ratios: tuple[float, float]
    arms: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Distance between the brightest points of the two sides over the total extent, along the jets; 0..1."""
        return float(np.dot(self.side_ratios, self.arms))


def probability_fri(ratio: np.ndarray) -> np.ndarray:
    """Probability that one annotator labels a galaxy FRI, Phi((1/2 - ratio) / READING_NOISE); 0..1, falling."""
    return ndtr((0.5 - np.asarray(ratio)) / READING_NOISE)


def draw_latent(kind: str, rng: np.random.Generator) -> Latent:
    """A galaxy of this kind before anybody has labelled it."""
    fri, frii = rng.beta(4, 8), rng.beta(9, 3)
    tails, edge = kind in BEND, kind == "double-double"
    same = fri if tails or (not edge and rng.random() < 0.48) else frii
    ratios = (fri, frii) if kind == "hybrid" else (same, same)
    arm = np.clip(rng.normal(0.5, 0.1), 0.2, 0.8)
    return Latent(kind, ratios, (arm, 1 - arm))


def annotate(latent: Latent, rng: np.random.Generator) -> int | None:
    """Class code by the majority of N_ANNOTATORS readings, confident if all agree; ``None`` if MiraBest has no such class.

    For a hybrid, annotators read both sides and vote on whether these lie on different sides of 1/2.
    """
    if latent.kind == "hybrid":
        readings = np.array(latent.side_ratios) + rng.normal(0, READING_NOISE, (N_ANNOTATORS, 2))
        votes = (readings[:, 0] < 0.5) != (readings[:, 1] < 0.5)
        code = 300 if votes.mean() > 0.5 else 0
    else:
        votes = latent.ratio + rng.normal(0, READING_NOISE, N_ANNOTATORS) < 0.5
        code = (100 if votes.mean() > 0.5 else 200) + {name: digit for digit, name in KINDS.items()}[latent.kind]
    code += 0 if votes.all() or not votes.any() else 10
    return code if code in CLASSES else None


def kind_of(code: int) -> str:
    """The kind that a class code asks for."""
    return "hybrid" if code // 100 == 3 else KINDS[code % 10]


def draw_labelled(wanted: Mapping[int, int], rng: np.random.Generator) -> list[tuple[int, Latent]]:
    """Draw and annotate galaxies of each kind until every class code has its number, by rejection."""
    missing, accepted = Counter(wanted), []
    for code in wanted:
        for _ in range(MAX_DRAWS + 100 * wanted[code]):
            if missing[code] <= 0:
                break
            latent = draw_latent(kind_of(code), rng)
            label = annotate(latent, rng)
            if missing[label] > 0:
                accepted.append((label, latent))
                missing[label] -= 1
        if missing[code] > 0:
            raise ValueError(
                f"class {code} ({CLASSES[code]}): {missing[code]} of {wanted[code]} galaxies never came up in "
                f"{MAX_DRAWS + 100 * wanted[code]} draws; ask for fewer of this class"
            )
    return accepted


def jet_path(heading: float, bend: float, turn: float, fraction: np.ndarray) -> np.ndarray:
    """Positions (K, 2) at ``fraction`` (K,) of a jet of unit length that turns by ``bend`` radians over ``turn``."""
    s = np.linspace(0, 1, 65)
    angle = heading + bend * np.clip((s[1:] + s[:-1]) / 2 / turn, 0, 1)
    steps = np.stack([np.cos(angle), np.sin(angle)]) / 64
    x, y = np.concatenate([np.zeros((2, 1)), steps.cumsum(axis=1)], axis=1)
    return np.stack([np.interp(fraction, s, x), np.interp(fraction, s, y)], axis=1)


def draw_side(ratio: float, heading: float, bend: float, turn: float, rng: np.random.Generator) -> np.ndarray:
    """One side of unit length and unit flux: knot at ``ratio``, jet, and plume (FRI) or lobe (FRII).

    Returns components (K, 4): x, y, flux, width (standard deviation of a circular Gaussian).
    """
    n = 30
    frii = expit((ratio - 0.5) / 0.04)
    lobe = rng.random(n) < frii
    in_jet = rng.random(n) < np.where(lobe, 0.05, rng.uniform(0.05, 0.4))
    s_plume = ratio + (1 - ratio) * rng.beta(1.4, 1, n)
    s_lobe = ratio - 0.8 * ratio * rng.beta(1, 3, n) + (1 - ratio) * rng.beta(1, 2, n)
    s = np.where(in_jet, rng.uniform(0, max(ratio, 0.1), n), np.where(lobe, s_lobe, s_plume))
    plume_opening, lobe_radius = rng.uniform(0.05, 0.25), rng.uniform(0.05, 0.22)
    spread = np.where(in_jet, 0.02, np.where(lobe, lobe_radius, plume_opening * s))
    xy = jet_path(heading, bend, turn, s) + rng.normal(0, 1, (n, 2)) * (0.8 * spread[:, None])
    flux = rng.gamma(0.5, 1, n)
    knot = rng.uniform(0.02, 0.15) * (1 - frii) + rng.uniform(0, 0.25) * frii
    diffuse = np.column_stack([xy, (1 - knot) * flux / flux.sum(), np.maximum(0.7 * spread, 0.02)])
    hot_spot = [*jet_path(heading, bend, turn, np.array([ratio]))[0], knot, 0.02]
    return np.vstack([hot_spot, diffuse])


def draw_bends(kind: str, ratio: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Bends (2,) in radians of the two jets, and the fraction of the jet over which these build up."""
    if kind in BEND:
        sweep = np.radians(rng.uniform(*BEND[kind]))
        return sweep * np.array([1, -1]) + rng.normal(0, 0.1, 2), rng.uniform(0.2, 0.6)
    return rng.normal(0, 0.5 if ratio < 0.5 else 0.1, 2), rng.uniform(0.3, 1.0)


def draw_source(latent: Latent, size: float, flux: float, rng: np.random.Generator) -> np.ndarray:
    """Components (K, 4) of a galaxy at the origin with largest angular size ``size`` (arcsec) and ``flux`` (mJy)."""
    bends, turn = draw_bends(latent.kind, latent.ratio, rng)
    share = np.exp(rng.laplace(0, 0.25, 2)) / np.array(latent.arms) ** 1.5
    sides, paths = [], []
    for i in range(2):
        heading = np.pi * i + rng.normal(0, 0.05)
        pairs = [(1.0, 1.0)] if latent.kind != "double-double" else [(1.0, 0.6), (rng.uniform(0.25, 0.45), 0.4)]
        for reach, part in pairs:
            side = draw_side(latent.side_ratios[i], heading, bends[i], turn, rng)
            sides.append(side * np.array([*2 * [latent.arms[i] * reach], part * share[i] / share.sum(), reach / 2]))
        paths.append(latent.arms[i] * jet_path(heading, bends[i], turn, np.linspace(0, 1, 20)))
    track = np.concatenate(paths)
    extent = np.linalg.norm(track[:, None] - track, axis=-1).max()
    core = draw_core_share(latent.ratio, rng)
    source = np.vstack([[0, 0, core, 0], np.concatenate(sides) * [1, 1, 1 - core, 1]])
    source *= [size / extent, size / extent, flux, size / extent]
    source[1:, 3] = np.hypot(source[1:, 3], MIN_WIDTH)
    return source


def draw_core_share(ratio: float, rng: np.random.Generator) -> float:
    """Share of the flux in the unresolved core: bright in an FRI, faint or absent in an FRII."""
    fri = probability_fri(ratio)
    present = rng.random() < 0.5 + 0.5 * fri
    return float(present * min(0.8, np.exp(rng.normal(np.log(0.02 + 0.03 * fri), 1.0))))


def draw_flux(n: int, limit: float, rng: np.random.Generator) -> np.ndarray:
    """Flux densities (n,) above ``limit`` with N(>S) proportional to 1/S, at most 50 times the limit."""
    return limit / rng.uniform(0.02, 1, n)


def draw_field(rng: np.random.Generator) -> np.ndarray:
    """Components (K, 4) of unrelated sources in the cutout, about 90 per square degree above 1 mJy."""
    n = rng.poisson(2.5)
    xy = rng.uniform(-1, 1, (n, 2)) * CUTOUT_SIZE * PIXEL_ARCSEC / 2
    near = rng.poisson(0.7)
    m = n + near
    xy = np.concatenate([xy, rng.normal(0, 60, (near, 2))])
    return np.column_stack([xy, draw_flux(m, 1.0, rng), rng.uniform(0, 5, m)])


def draw_sidelobes(source: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Components (K, 4) left by cleaning: ripples along the three arms of the VLA's snapshot beam."""
    peak = source[np.argmax(source[:, 2] * BEAM**2 / (BEAM**2 + source[:, 3] ** 2))]
    n = 80
    arm = np.radians(rng.choice([0, 60, 120], n) + rng.normal(0, 6))
    distance = rng.normal(0, 70, n)
    ripple = 0.0007 * rng.lognormal(0, 1.2) * source[:, 2].sum() * rng.normal(0, 1, n) * np.exp(-np.abs(distance) / 150)
    return np.column_stack(
        [peak[0] + distance * np.cos(arm), peak[1] + distance * np.sin(arm), ripple, np.zeros(n)]
    )


def rotate(components: np.ndarray, angle: float) -> np.ndarray:
    """The same components turned by ``angle`` radians about the origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.column_stack([components[:, :2] @ np.array([[cos, sin], [-sin, cos]]), components[:, 2:]])


def render(components: np.ndarray) -> np.ndarray:
    """Noise-free cutout (300, 300) in mJy/beam, the components (x, y, flux, width) convolved with the beam.

    sum_k S_k b^2 / (b^2 + w_k^2) exp(-r_k^2 / (2 (b^2 + w_k^2))); the galaxy sits on (149.5, 149.5).
    """
    x, y, flux, width = components.T
    variance = (BEAM**2 + width**2)[:, None]
    grid = (np.arange(CUTOUT_SIZE) - (CUTOUT_SIZE - 1) / 2) * PIXEL_ARCSEC
    along_x = np.exp(-((grid - x[:, None]) ** 2) / (2 * variance))
    along_y = np.exp(-((grid - y[:, None]) ** 2) / (2 * variance))
    return (flux[:, None] * BEAM**2 / variance * along_y).T @ along_x


def draw_noise(rng: np.random.Generator) -> np.ndarray:
    """Noise (300, 300) in mJy/beam; its autocorrelation is the beam, as in any image made from visibilities."""
    pixels = BEAM / PIXEL_ARCSEC / np.sqrt(2) * rng.normal(1.05, 0.15)
    noise = gaussian_filter(rng.standard_normal((CUTOUT_SIZE, CUTOUT_SIZE)), pixels, mode="wrap")
    return NOISE * rng.normal(1, 0.1) * noise * (2 * np.sqrt(np.pi) * pixels)


def draw_size(ratio: float, rng: np.random.Generator) -> float:
    """Largest angular size in arcsec, lognormal and cut at MiraBest's range; FRIIs are more distant and smaller."""
    while True:
        size = np.exp(rng.normal(np.log(130) - 1.7 * ratio, 0.55 + 0.45 * ratio))
        if SIZE_LIMITS[0] < size < SIZE_LIMITS[1]:
            return float(size)


def observe(latent: Latent, size: float, flux: float, rng: np.random.Generator) -> np.ndarray:
    """The image (150, 150) uint8 that MiraBest would hold of this galaxy."""
    from radio_bnn.data.cutouts import preprocess

    source = rotate(draw_source(latent, size, flux, rng), rng.uniform(0, 2 * np.pi))
    sky = np.concatenate([source, draw_field(rng), draw_sidelobes(source, rng)])
    return preprocess(render(sky) + draw_noise(rng))


def check_counts(counts: Mapping[int, tuple[int, int]]) -> None:
    """Raise ValueError unless every key is a class of MiraBest and every value two numbers >= 0."""
    for code, pair in counts.items():
        if code not in CLASSES:
            raise ValueError(f"unknown class code {code!r}: choose from {', '.join(map(str, CLASSES))}")
        if len(pair) != 2 or not all(isinstance(n, int | np.integer) and n >= 0 for n in pair):
            raise ValueError(f"counts[{code}] is {pair!r}: expected (train, test), two integers of at least 0")
    if not sum(map(sum, counts.values())):
        raise ValueError("counts ask for no galaxy at all: give at least one class a positive number")


def simulate(*, counts: dict[int, tuple[int, int]] | None = None, seed: int = 0) -> Galaxies:
    """Simulated galaxies, ``counts[code] = (train, test)`` of each class, MiraBest's own by default; order shuffled.

    ``ratio`` is the latent Fanaroff-Riley ratio and ``p_fri`` the probability, given that ratio and not the image,
    that one annotator labels the galaxy FRI. Deterministic in ``seed``.

    Raises ValueError for an unknown class code, a negative number, or a class that cannot be filled.
    """
    counts = COUNTS if counts is None else counts
    check_counts(counts)
    rng = np.random.default_rng(seed)
    drawn = draw_labelled({code: train + test for code, (train, test) in counts.items()}, rng)
    left, n = {code: test for code, (_, test) in counts.items()}, len(drawn)
    in_test_batch = np.zeros(n, bool)
    for i, (code, _) in enumerate(drawn):
        in_test_batch[i] = left[code] > 0
        left[code] -= 1
    order = rng.permutation(n)
    codes = np.array([drawn[i][0] for i in order])
    latents = [drawn[i][1] for i in order]
    ratio = np.array([latent.ratio for latent in latents])
    size = np.array([draw_size(r, rng) for r in ratio])
    flux = draw_flux(n, FLUX_LIMIT, rng)
    images = [observe(*g, rng) for g in tqdm(zip(latents, size, flux), total=n, desc="simulating", disable=n < 300)]
    return Galaxies(
        images=np.stack(images),
        code=codes,
        in_test_batch=in_test_batch[order],
        name=np.array([f"sim_{i:06d}" for i in range(n)]),
        **draw_catalogue(ratio, rng),
        size=size,
        ratio=ratio,
        p_fri=probability_fri(ratio),
    )


def draw_catalogue(ratio: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Sky positions in the northern FIRST footprint (degrees) and redshifts of 0.03 to 0.55; each (N,)."""
    n = len(ratio)
    sin_dec = rng.uniform(*np.sin(np.radians([-8, 64])), n)
    redshift = np.exp(rng.normal(np.log(0.16) + 0.4 * ratio, 0.45))
    return {"ra": rng.uniform(110, 260, n), "dec": np.degrees(np.arcsin(sin_dec)), "redshift": redshift.clip(0.03, 0.55)}


def scaled_counts(n: int) -> dict[int, tuple[int, int]]:
    """MiraBest's class counts scaled to exactly ``n`` galaxies by largest remainders; rare classes may get none."""
    if n < 1:
        raise ValueError(f"n is {n}: expected at least 1 galaxy")
    share = np.array(list(COUNTS.values())).ravel()
    exact = n * share / share.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return {code: (int(train), int(test)) for code, (train, test) in zip(COUNTS, counts.reshape(-1, 2))}

"""The figures of the book: functions of axes and arrays, in one style that reads in light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from radio_bnn.data.galaxies import CLASSES, PIXEL_ARCSEC, Galaxies

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): tell apart under every common colour vision; each series also has its own line style or marker.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#222222",
)
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
FR_COLOUR = {"FRI": BLUE, "FRII": VERMILION, "hybrid": GREEN}
CREDIT = {
    "mirabest": "MiraBest; images: FIRST survey (Becker, White & Helfand 1995)",
    "simulated": "SIMULATED galaxies, not MiraBest",
}
STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "image.cmap": "inferno",
    "savefig.bbox": None,
}


def use_style() -> None:
    """Set the style of the book: an opaque white ground, so that figures also read on dark pages."""
    import matplotlib as mpl

    mpl.rcParams.update(STYLE)


def galaxy(ax: Axes, image: np.ndarray, title: str = "") -> None:
    """One image (H, W), brightest white, with a square-root stretch; 1 arcmin scale bar for 1.8 arcsec pixels."""
    ax.imshow(np.sqrt(image / max(image.max(), 1)), origin="upper", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
    ax.grid(False)
    height, length = image.shape[0], 60 / PIXEL_ARCSEC
    ax.plot([6, 6 + length], [height - 8, height - 8], color="white", lw=2)
    ax.text(6 + length / 2, height - 12, "1′", color="white", ha="center", va="bottom", fontsize=8)


def credit(figure: Figure, source: str) -> None:
    """The line under a figure of galaxies that says whose images they are."""
    figure.supxlabel(CREDIT[source], fontsize=8, color="#555555")


def classes(galaxies: Galaxies, *, source: str, columns: int = 5, skip: int = 0) -> Figure:
    """One example of every class, confident and uncertain, each with its angular size in arcsec.

    ``skip`` galaxies of each class are passed over, where there are as many.
    """
    import matplotlib.pyplot as plt

    codes = [code for code in CLASSES if (galaxies.code == code).any()]
    rows = -(-len(codes) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2 * columns, 2.35 * rows + 0.3), squeeze=False)
    for ax, code in zip(axes.flat, codes, strict=False):
        members = np.flatnonzero(galaxies.code == code)
        i = members[skip % len(members)]
        galaxy(ax, galaxies.images[i], CLASSES[code].replace(", ", ",\n") + f"\n{galaxies.size[i]:.0f}″")
    for ax in axes.flat[len(codes) :]:
        ax.set_visible(False)
    credit(figure, source)
    return figure


def side_by_side(survey: Galaxies, simulated: Galaxies, *, source: str, n: int = 6, skip: int = 3) -> Figure:
    """FRI and FRII galaxies of the ``survey``, whose images come from ``source``, above simulated ones."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, n, figsize=(1.7 * n, 7.4))
    shown = "MiraBest" if source == "mirabest" else "SIMULATED"
    rows = [(survey, 100, f"FRI\n{shown}"), (simulated, 100, "FRI\nsimulated")]
    rows += [(survey, 200, f"FRII\n{shown}"), (simulated, 200, "FRII\nsimulated")]
    for row, (galaxies, code, name) in zip(axes, rows, strict=True):
        for ax, image in zip(row, galaxies.images[galaxies.code == code][skip:], strict=False):
            galaxy(ax, image)
        row[0].set_ylabel(name, fontsize=10)
    credit(figure, source)
    return figure


def sizes(axes: Sequence[Axes], galaxies: Galaxies) -> None:
    """Largest angular size and redshift of FRI and FRII galaxies, as cumulative shares."""
    for ax, values, label in zip(
        axes, (galaxies.size, galaxies.redshift), ("largest angular size [arcsec]", "redshift"), strict=True
    ):
        for morphology, name, line in ((1, "FRI", "-"), (2, "FRII", "--")):
            chosen = np.sort(values[galaxies.morphology == morphology])
            share = np.arange(1, len(chosen) + 1) / len(chosen)
            ax.step(chosen, share, where="post", color=FR_COLOUR[name], ls=line, label=f"{name} ({len(chosen)})")
        ax.set(xlabel=label, ylabel="share of galaxies below", ylim=(0, 1))
        ax.legend(loc="lower right")


def preprocessing(steps: Mapping[str, np.ndarray]) -> Figure:
    """The stages of ``cutouts.preprocessing_steps`` from left to right."""
    import matplotlib.pyplot as plt

    titles = {
        "raw": "1. cutout",
        "clipped": "2. ≤ 3σ → 0",
        "cropped": "3. central\n150 × 150",
        "masked": "4. circle",
        "scaled": "5. 0 to 255",
    }
    figure, axes = plt.subplots(1, len(titles), figsize=(10, 2.6))
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        image = np.nan_to_num(steps[name].astype(float))
        galaxy(ax, (image - image.min()) if name == "raw" else image, title)
    return figure


def densities(ax: Axes, grid: np.ndarray, log_density: Mapping[str, np.ndarray]) -> None:
    """Prior densities over a symmetric logarithmic weight axis; grid (K,), each log density (K,)."""
    for (name, values), colour, line in zip(log_density.items(), COLOURS, LINES, strict=False):
        ax.plot(grid, np.exp(values), color=colour, ls=line, lw=2, label=name)
    ax.set_xscale("symlog", linthresh=1e-3)
    ax.set(yscale="log", ylim=(1e-4, 1e3), xlabel="weight w (logarithmic beyond ±0.001)", ylabel="prior density p(w)")
    ax.legend()


def learning_curve(axes: Sequence[Axes], history: Mapping[str, Sequence[float]]) -> None:
    """Negative log-likelihood of training and validation galaxies, and the KL per weight, against the epoch."""
    likelihood, complexity = axes
    epoch = history["epoch"]
    likelihood.plot(epoch, history["train_nll"], color=BLUE, marker="o", ms=3, label="training")
    likelihood.plot(epoch, history["validation_nll"], color=VERMILION, ls="--", marker="s", ms=3, label="validation")
    likelihood.axhline(np.log(2), color=BLACK, lw=1, ls=":")
    likelihood.text(epoch[-1], np.log(2), "guessing: ln 2", ha="right", va="bottom", fontsize=8)
    likelihood.set(xlabel="epoch", ylabel="NLL [nats per galaxy]", ylim=(0, None))
    likelihood.legend(loc="upper right")
    complexity.plot(epoch, history["kl_per_weight"], color=GREEN, marker="o", ms=3)
    complexity.set(xlabel="epoch", ylabel="KL [nats per weight]", ylim=(0, None))


def annotators(axes: Sequence[Axes], galaxies: Galaxies) -> None:
    """Above, the probability of an FRI label against the Fanaroff-Riley ratio; below, who becomes uncertain by it."""
    curve, histogram = axes
    order = np.argsort(galaxies.ratio)
    curve.plot(galaxies.ratio[order], galaxies.p_fri[order], color=BLACK)
    curve.set(ylabel="P(one annotator\nsays FRI)", ylim=(-0.02, 1.02))
    edges = np.linspace(0, 1, 41)
    for morphology, confident, name, colour, line in (
        (1, True, "FRI, annotators unanimous", BLUE, "-"),
        (2, True, "FRII, annotators unanimous", VERMILION, "--"),
        (None, False, "annotators divided: uncertain", ORANGE, "-."),
    ):
        chosen = (galaxies.confident == confident) & (galaxies.morphology < 3)
        chosen &= (galaxies.morphology == morphology) if morphology else True
        label = f"{name} ({chosen.sum()})"
        histogram.hist(galaxies.ratio[chosen], edges, histtype="step", color=colour, ls=line, lw=2, label=label)
    histogram.set(xlabel="Fanaroff-Riley ratio", ylabel="galaxies per bin", xlim=(0, 1))
    histogram.set_ylim(0, 1.4 * histogram.get_ylim()[1])
    histogram.legend(loc="upper center", fontsize=8, ncols=2)


def importance(ax: Axes, lost: Mapping[str, float], *, top: int = 8) -> None:
    """The features by which a classifier tells two sets apart: AUROC lost when each is shuffled."""
    names = list(lost)[:top][::-1]
    ax.barh(names, [lost[name] for name in names], color=BLUE)
    ax.set_xlabel("AUROC lost when the feature is shuffled")
    ax.grid(axis="y", visible=False)


def intervals(ax: Axes, values: Mapping[str, tuple[float, float, float]], *, label: str) -> None:
    """One number with its interval per row: {name: (value, low, high)}."""
    for row, ((_, (value, low, high)), colour) in enumerate(zip(values.items(), COLOURS, strict=False)):
        ax.plot([low, high], [row, row], color=colour, lw=2)
        ax.plot(value, row, "o", color=colour, ms=7)
    ax.set(yticks=range(len(values)), yticklabels=list(values), ylim=(len(values) - 0.5, -0.5), xlabel=label)
    ax.locator_params(axis="x", nbins=6)
    ax.grid(axis="y", visible=False)


def against_null(
    ax: Axes, values: Mapping[str, float], null: Mapping[str, tuple[float, float, float]], *, label: str
) -> None:
    """A calibration error per row beside the range that a perfectly calibrated network would show."""
    for row, (name, (middle, low, high)) in enumerate(null.items()):
        shown = {"label": "if perfectly calibrated (95 %)"} if row == 0 else {}
        ax.barh(row, high - low, left=low, height=0.5, color="#cccccc", **shown)
        ax.plot([middle, middle], [row - 0.25, row + 0.25], color="#777777", lw=1.5)
        measured = {"label": "measured"} if row == 0 else {}
        ax.plot(values[name], row, "o", color=BLACK, ms=7, ls="", **measured)
    ax.set(yticks=range(len(null)), yticklabels=list(null), ylim=(len(null) - 0.5, -0.5), xlabel=label)
    ax.set_xlim(0, None)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8, ncols=2)

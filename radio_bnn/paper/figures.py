"""The figures of the book: functions of axes and arrays, in one style that reads in light and dark pages."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from radio_bnn.config import N_FOLDS
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
MARKERS = ("o", "s")
ROW_MARKERS = ("o", "s", "D")
FR_COLOUR = {"FRI": BLUE, "FRII": VERMILION, "hybrid": GREEN}
# Of curves against temperature that are apart from the others in kind.
OWN_MARKER = {"from scratch": "s", "downward": "v", "label-free control": "D"}
GROUP_COLOUR = {"confident": BLACK, "uncertain": ORANGE, "hybrid": GREEN}
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
    "svg.hashsalt": "radio_bnn",  # ids that do not differ from run to run
}


def use_style() -> None:
    """Set the style of the book: an opaque white ground, so that figures also read on dark pages.

    In a notebook figures become vectors, the same bytes in every run: sharp at any size and small in git.
    """
    import matplotlib as mpl

    mpl.rcParams.update(STYLE)
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


class Look(NamedTuple):
    """What tells one series from the others: a colour, a line style of matplotlib, a marker."""

    colour: str
    line: str | tuple
    marker: str


def series(values: Mapping[str, Any], colours: Sequence[str] = COLOURS) -> list[tuple[str, Any, Look]]:
    """Each of several series with its look, (name, value, look).

    ``colours`` come in turn; a colour that comes again has another marker, and a line style far from its first one.
    Raises ValueError for more series than a reader can tell apart, 12 with the usual six colours.
    """
    most = len(colours) * len(MARKERS)
    if len(values) > most:
        raise ValueError(f"{len(values)} series in one figure: no more than {most} can be told apart, draw fewer")
    found = []
    for place, (name, value) in enumerate(values.items()):
        again, i = divmod(place, len(colours))
        line = LINES[(i + again * len(LINES) // len(MARKERS)) % len(LINES)]
        found.append((name, value, Look(colours[i], line, MARKERS[again])))
    return found


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
    for ax, code in zip(axes.flat[: len(codes)], codes, strict=True):
        members = np.flatnonzero(galaxies.code == code)
        i = members[skip % len(members)]
        galaxy(ax, galaxies.images[i], CLASSES[code].replace(", ", ",\n") + f"\n{galaxies.size[i]:.0f}″")
    for ax in axes.flat[len(codes) :]:
        ax.set_visible(False)
    credit(figure, source)
    return figure


def side_by_side(survey: Galaxies, simulated: Galaxies, *, source: str, n: int = 6, skip: int = 3) -> Figure:
    """FRI and FRII galaxies of the ``survey``, whose images come from ``source``, above simulated ones.

    Of each class the first ``n`` after ``skip`` are shown, or as many as there are.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, n, figsize=(1.7 * n, 7.4))
    shown = "MiraBest" if source == "mirabest" else "SIMULATED"
    rows = [(survey, 100, f"FRI\n{shown}"), (simulated, 100, "FRI\nsimulated")]
    rows += [(survey, 200, f"FRII\n{shown}"), (simulated, 200, "FRII\nsimulated")]
    for row, (galaxies, code, name) in zip(axes, rows, strict=True):
        images = galaxies.images[galaxies.code == code][skip : skip + n]
        for ax, image in zip(row[: len(images)], images, strict=True):
            galaxy(ax, image)
        for ax in row[max(len(images), 1) :]:
            ax.set_visible(False)
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
    for name, values, look in series(log_density):
        ax.plot(grid, np.exp(values), color=look.colour, ls=look.line, lw=2, label=name)
    ax.set_xscale("symlog", linthresh=1e-3)
    ax.set(yscale="log", ylim=(1e-4, 1e3), xlabel="weight w (logarithmic beyond ±0.001)", ylabel="prior density p(w)")
    _legend_above(ax, ncols=3)


def learning_curve(axes: Sequence[Axes], history: Mapping[str, Sequence[float]]) -> None:
    """Negative log-likelihood of training and validation galaxies, and the KL per weight, against the epoch."""
    likelihood, complexity = axes
    epoch = history["epoch"]
    likelihood.plot(epoch, history["train_nll"], color=BLUE, marker="o", ms=3, label="training")
    likelihood.plot(epoch, history["validation_nll"], color=VERMILION, ls="--", marker="s", ms=3, label="validation")
    likelihood.axhline(np.log(2), color=BLACK, lw=1, ls=":")
    likelihood.text(epoch[-1], np.log(2), "guessing: ln 2", ha="right", va="bottom", fontsize=8)
    likelihood.set(xlabel="epoch", ylabel="NLL [nats per galaxy]", ylim=(0, None))
    _legend_above(likelihood, ncols=2)
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


BETTER = {"": "", "left": "   ← better", "right": "   better →"}


def forest(
    ax: Axes,
    rows: Mapping[str, Mapping[str, Any]],
    *,
    label: str,
    reference: float,
    colours: Mapping[str, str] | None = None,
    better: str = "",
    legend: bool = True,
) -> None:
    """Numbers with intervals, a row for each title: {row: {series: (interval, folds)}}, around a dotted reference.

    A marker is hollow where not all folds are stored; an empty row says "not run". ``colours`` by series.
    ``better``: "left" or "right", which the label then says, or "".
    """
    colours = colours or {name: BLUE for found in rows.values() for name in found}
    marks = {name: ROW_MARKERS[place % len(ROW_MARKERS)] for place, name in enumerate(colours)}
    ax.axvline(reference, color=BLACK, lw=1, ls=":")
    for row, found in enumerate(rows.values()):
        drawn = {name: of for name, of in found.items() if of is not None}
        for place, (name, of) in enumerate(drawn.items()):
            apart = 0.6 * ((place + 0.5) / len(drawn) - 0.5)
            _whisker(ax, row + apart, of, colours[name], marks[name])
        if not drawn:
            ax.text(0.02, row, "not run", va="center", color="#555555", transform=ax.get_yaxis_transform())
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), ylim=(len(rows) - 0.5, -0.5))
    ax.set_xlabel(f"{label}{BETTER[better]}")
    ax.locator_params(axis="x", nbins=6)
    ax.grid(axis="y", visible=False)
    if legend and len(colours) > 1:
        handles = [ax.plot([], [], marks[name], color=colour, label=name)[0] for name, colour in colours.items()]
        _legend_above(ax, handles=handles, ncols=len(handles))


def _whisker(ax: Axes, y: float, found: Any, colour: str, marker: str) -> None:
    (value, low, high), folds = found
    ax.plot([low, high], [y, y], color=colour, lw=2, solid_capstyle="butt")
    ax.plot(value, y, marker, color=colour, ms=6.5, mew=1.5, mfc=colour if folds >= N_FOLDS else "white")


def _legend_above(ax: Axes, **settings: Any) -> None:
    """The legend above the axes, where it can hide nothing."""
    style = {"borderaxespad": 0.2, "handletextpad": 0.4, "columnspacing": 1.2, "fontsize": 9}
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), **style | settings)


Curve = Mapping[float, tuple[tuple[float, float, float], Sequence[float]] | None]


def against_temperature(
    ax: Axes, curves: Mapping[str, Curve], *, label: str, guessing: float | None = None, yscale: str = "linear"
) -> None:
    """Curves {T: ((value, low, high), values of the folds)} on a logarithmic temperature axis.

    Bars are the intervals, small dots the folds. A marker is hollow on fewer than eight folds; a cross on the axis is a
    run of which there is no record (None), and the line stops there. A dotted line is drawn at the score of
    ``guessing``. Series stand a little apart, at the same temperatures.
    """
    step = 0.3 / max(len(curves), 6)  # of a decade: many series must not reach the next temperature
    for place, (name, curve, (colour, line, marker)) in enumerate(series(curves)):
        marker = OWN_MARKER.get(name, marker)
        apart = 10 ** (step * (place - (len(curves) - 1) / 2))
        places, points = zip(*sorted((t * apart, point) for t, point in curve.items()), strict=True)
        middle = [np.nan if point is None else point[0][0] for point in points]
        ax.plot(places, middle, color=colour, ls=line, marker=marker, ms=5, label=name)
        found = [(t, point) for t, point in zip(places, points, strict=True) if point is not None]
        for t, ((value, low, high), values) in found:
            ax.plot([t, t], [low, high], color=colour, lw=1.5)
            if len(values) < N_FOLDS:
                ax.plot(t, value, marker, color=colour, ms=5, mfc="white")
            ax.plot([t] * len(values), values, marker, color=colour, ms=2.5, mfc="white", mew=0.8)
        absent = [t * apart for t, point in curve.items() if point is None]
        ax.plot(absent, [0.015] * len(absent), "x", color=colour, ms=5, transform=ax.get_xaxis_transform())
    if guessing is not None:
        ax.axhline(guessing, color=BLACK, lw=1, ls=":")
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "top"}
        ax.annotate("guessing", (0.4, guessing), (0, -3), **place)
    ax.set(xscale="log", xlabel="temperature T", ylabel=label)
    if all(point is None for curve in curves.values() for point in curve.values()):
        ax.text(0.5, 0.7, "not run", ha="center", transform=ax.transAxes)
        ax.set_yticks([])
    else:
        ax.set_yscale(yscale)


Panels = Mapping[str, tuple[Mapping[str, Curve], float | None]]


def by_temperature(
    panels: Panels, *, logarithmic: Sequence[str] = (), shaded: Sequence[tuple[float, float]] = (), named: str = ""
) -> Figure:
    """``against_temperature`` of {label: (curves, score of guessing)}, one panel below the other on one axis.

    The ticks are the temperatures that were planned. ``logarithmic``: labels of panels. ``shaded``: ranges of T, in
    every panel, ``named`` in the legend.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(panels), 1, figsize=(6.4, 0.9 + 2.6 * len(panels)), sharex=True, squeeze=False)
    for ax, (label, (curves, guessing)) in zip(axes.flat, panels.items(), strict=True):
        scale = "log" if label in logarithmic else "linear"
        against_temperature(ax, curves, label=label, guessing=guessing, yscale=scale)
        for low, high in shaded:
            ax.axvspan(low, high, color="#e4e4e4", zorder=0, lw=0, label=named)
        ax.label_outer()
        if scale == "log" and ax.get_yscale() == "log":
            _plain_ticks(ax.yaxis)
    planned = sorted({t for curves, _ in panels.values() for curve in curves.values() for t in curve})
    axes.flat[-1].set_xticks(planned, [f"{t:g}" for t in planned])
    axes.flat[-1].set_xticks([], minor=True)
    handles, labels = max((ax.get_legend_handles_labels() for ax in axes.flat), key=lambda found: len(found[1]))
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown, loc="outside upper center", ncols=2)
    return figure


def _plain_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 times a power of ten, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def lines(ax: Axes, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, labels: tuple[str, str]) -> None:
    """Several curves (x, y) by their names; ``labels`` of the two axes."""
    for name, (x, y), look in series(curves):
        ax.plot(x, y, color=look.colour, ls=look.line, lw=2, label=name)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    if len(curves) > 1:
        ax.legend(fontsize=8)


def agreement(ax: Axes, a: np.ndarray, b: np.ndarray, *, labels: tuple[str, str]) -> None:
    """Pairs of values of one quantity, a (N,) across and b (N,) up, with the line where they agree."""
    ends = [min(a.min(), b.min()), max(a.max(), b.max())]
    ax.plot(ends, ends, color="#777777", lw=1, ls="--")
    ax.plot(a, b, "o", color=BLUE, ms=3, alpha=0.5, mew=0)
    ax.set(xlabel=labels[0], ylabel=labels[1])


def medians(ax: Axes, values: Mapping[float, tuple[float, float, float]], *, label: str) -> None:
    """A median with its band against a number: {x: (value, low, high)}."""
    value, low, high = np.array(list(values.values())).T
    ax.fill_between(list(values), low, high, color=BLUE, alpha=0.15, lw=0)
    ax.plot(list(values), value, color=BLUE, lw=2, label=label)


def selection(axes: Sequence[Axes], kept: Mapping[str, np.ndarray], lost: Mapping[float, float]) -> None:
    """Chances (E,) that each epoch is kept, accumulated; below, the error lost by how fast the error falls."""
    epoch = np.arange(1, len(next(iter(kept.values()))) + 1)
    curves = {name: (epoch, chances.cumsum()) for name, chances in kept.items()}
    lines(axes[0], curves | {"any epoch alike": (epoch, epoch / len(epoch))}, labels=("epoch", "P(kept by that epoch)"))
    labels = ("epochs in which the true error falls by e", "true error lost [points]")
    lines(axes[1], {"": (list(lost), list(lost.values()))}, labels=labels)
    axes[1].set(xlim=(0, None), ylim=(0, None))


def mixtures(
    ax: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], ends: Sequence[float], largest: float
) -> None:
    """Log densities against |w|, dotted lines where they end, the range of the weights up to ``largest`` shaded."""
    lines(ax, curves, labels=("|w|", "log density [nats]"))
    for end in ends:
        ax.axvline(end, color=BLACK, lw=1, ls=":")
    first = min(x[0] for x, _ in curves.values())
    ax.axvspan(first, largest, color=ORANGE, alpha=0.15, lw=0, label="weights of a draw")
    ax.set(xscale="log", xlim=(first, 2.5 * max(ends)), ylim=(-160, 15))
    ax.legend(fontsize=8, loc="lower left")


def central_shares(ax: Axes, shares: np.ndarray, networks: np.ndarray, marks: Sequence[float]) -> None:
    """The UCE (R, K) on central ``shares`` (K,) of the draws, mean and range of R networks; ``marks`` are dotted."""
    _band(ax, 100 * shares, networks, series({"": None})[0][2], "mean and range of the folds")
    for mark in marks:
        ax.axvline(100 * mark, color=BLACK, lw=1, ls=":")
    ax.set(xlabel="central share of the draws kept [%]", ylabel="UCE [%]", xlim=(0, 100), ylim=(0, None))
    ax.legend(fontsize=8, loc="lower left")


def reach(ax: Axes, moved: np.ndarray, *, reach: float, needed: float) -> None:
    """The share of weights whose log scale has moved by less than x, what is in reach, and where the prior is."""
    share = np.linspace(0, 1, 2001)
    curve = {"stored networks": (np.quantile(moved, share), share)}
    lines(ax, curve, labels=("movement of log σ", "share of the weights below"))
    ax.axvspan(-reach, reach, color=ORANGE, alpha=0.2, lw=0, label="in reach of the published rate")
    ax.axvline(needed, color=BLACK, lw=1, ls=":", label="scale of the prior")
    ax.set(xlim=(-2.5, 4), ylim=(0, 1.01))
    ax.legend(fontsize=8, loc="upper left")


def uce_null(
    axes: Sequence[Axes],
    by_error: tuple[Mapping[float, tuple[float, float, float]], Mapping[float, float]],
    by_size: Mapping[float, tuple[float, float, float]],
    stored: Mapping[str, np.ndarray],
) -> None:
    """The UCE of a calibrated classifier against its error, with the stored networks, and against the galaxies."""
    few, endless = by_error
    medians(axes[0], few, label="calibrated, as many galaxies")
    axes[0].plot(
        list(endless), list(endless.values()), color=GREEN, ls="--", lw=2, label="calibrated, endless galaxies"
    )
    axes[0].plot(stored["error"], stored["uce"], "o", color=BLACK, label="stored networks")
    hollow = {"color": BLACK, "mfc": "white"}
    axes[0].plot(stored["promised"], stored["null"], "s", label="their nulls, at the error they promise", **hollow)
    medians(axes[1], by_size, label="calibrated, with the error of the stored networks")
    axes[0].set(xlabel="error [%]", ylabel="UCE [%]", xlim=(0, max(few)), ylim=(0, None))
    axes[1].set(xscale="log", xlabel="number of galaxies", ylabel="UCE [%]", ylim=(0, None))
    for ax in axes:
        ax.legend(fontsize=8)


def orbit(views: Sequence[np.ndarray], p_fri: Sequence[float], *, source: str) -> Figure:
    """One galaxy turned by right angles, and below its mirror image, each with a network's probability of FRI."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(6.4, 4.5))
    for element, (ax, view, p) in enumerate(zip(axes.flat, views, p_fri, strict=True)):
        galaxy(ax, view, f"{90 * (element % 4)}°{', mirrored' * (element > 3)}\nP(FRI) = {p:.2f}")
    credit(figure, source)
    return figure


def posterior_samples(axes: Sequence[Axes], probs: np.ndarray, title: str) -> None:
    """The softmax values of one galaxy, draw by draw (left) and as histograms (right); probs (S, 2)."""
    draws, histogram = axes
    for values, name, marker, line in zip(probs.T, ("FRI", "FRII"), "ox", ("-", "--"), strict=True):
        style = {"color": FR_COLOUR[name], "label": name}
        draws.plot(np.arange(1, len(values) + 1), values, marker, ms=3.5, alpha=0.8, **style)
        bins = np.linspace(0, 1, 21)
        histogram.hist(values, bins, orientation="horizontal", histtype="step", lw=2, ls=line, **style)
    draws.set(xlabel="draw of the weights", ylabel="class probability", ylim=(-0.04, 1.04))
    draws.set_title(title, fontsize=10, loc="left")
    draws.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0, handletextpad=0.3)
    histogram.set(xlabel="draws per bin", ylim=(-0.04, 1.04))


def cumulative(ax: Axes, values: Mapping[str, np.ndarray], *, label: str) -> None:
    """The share of each group's galaxies below a value: {group: (N,)}; groups of GROUP_COLOUR have theirs."""
    for name, group, look in series(values):
        share = np.arange(len(group) + 1) / len(group)
        ends = np.concatenate([[0], np.sort(group)])
        colour = GROUP_COLOUR.get(name, look.colour)
        ax.step(ends, share, where="post", color=colour, ls=look.line, lw=2, label=f"{name} ({len(group)})")
    ax.set(xlabel=label, ylabel="share of galaxies below", ylim=(0, 1.01), xlim=(0, None))
    ax.legend(loc="lower right")


def entropy_against_error(ax: Axes, p: np.ndarray) -> None:
    """What the UCE compares for a calibrated galaxy whose rarer class has the probability p (K,), 0..1/2."""
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    ax.fill_between(p, 2 * p, entropy, color="#dddddd", label="counted as miscalibration")
    ax.plot(p, entropy, color=BLUE, lw=2, label="entropy / ln 2")
    ax.plot(p, 2 * p, color=VERMILION, ls="--", lw=2, label="2 × error")
    ax.set(xlabel="probability of an error", ylabel="uncertainty, error (both 0 to 1)", xlim=(0, 0.5), ylim=(0, 1.02))
    ax.legend(loc="lower right")


def reliability(ax: Axes, diagram: Sequence[np.ndarray], *, title: str = "") -> None:
    """Observed share of FRII against the predicted one, on consistency bars; the number of galaxies at each point.

    diagram: mean forecast, frequency, ends of the consistency band, count of every bin, (B,) each.
    """
    forecast, frequency, low, high, count = diagram
    ax.plot([0, 1], [0, 1], color="#777777", lw=1, ls="--")
    ax.vlines(forecast, low, high, color="#c4c4c4", lw=9, label="if calibrated (95 %)")
    ax.plot(forecast, frequency, "o", color=BLUE, ms=6, label="observed")
    for x, y, n in zip(forecast, frequency, count, strict=True):
        ax.annotate(f"{n}", (x, y), (6, 0), textcoords="offset points", fontsize=8, va="center")
    ax.set(xlabel="predicted probability of FRII", ylabel="share that is FRII", aspect="equal")
    ax.set(xlim=(-0.03, 1.08), ylim=(-0.03, 1.03))
    ax.set_title(title, fontsize=10)
    ax.legend(loc="lower right", fontsize=8)


def rejection(ax: Axes, curves: Mapping[str, np.ndarray], *, label: str) -> None:
    """A score of the galaxies kept against the share rejected: {order: (R, N)}, mean and range of R networks."""
    for name, networks, look in series(curves):
        _band(ax, 100 * np.arange(networks.shape[1]) / networks.shape[1], networks, look, name)
    ax.set(xlabel="galaxies rejected [%]", ylabel=label, xlim=(0, 100), ylim=(0, None))
    ax.legend(fontsize=8)


def signal_to_noise(axes: Sequence[Axes], edges: np.ndarray, counts: Mapping[str, np.ndarray]) -> None:
    """Density of the SNR per dB, and the share of weights below; edges (B + 1,) dB, {name: (R, B)}, mean and range."""
    density, share = axes
    for name, networks, look in series(counts, (BLACK, *COLOURS)):
        part = networks / networks.sum(axis=1, keepdims=True)
        _band(density, (edges[1:] + edges[:-1]) / 2, part / np.diff(edges), look, name)
        _band(share, edges[1:], part.cumsum(axis=1), look, name)
    density.set(xlabel="signal-to-noise |μ|/σ [dB]", ylabel="weights [share per dB]", ylim=(0, None))
    share.set(xlabel="signal-to-noise |μ|/σ [dB]", ylabel="share of weights below", ylim=(0, 1.01))
    if counts:
        density.legend(fontsize=8)
    else:
        for ax in axes:
            not_run(ax)


def pruning_curves(
    ax: Axes,
    fractions: Sequence[float],
    curves: Mapping[str, np.ndarray],
    *,
    label: str,
    legend: bool = False,
    linear: float | None = None,
) -> None:
    """The change of a score against the share of weights that is kept: {name: (R, F)}, mean and range of R networks.

    The share is on a logarithmic axis from all to few; the change is logarithmic beyond ``linear``, if given.
    """
    ax.axhline(0, color="#777777", lw=1)
    for name, networks, look in series(curves):
        look = look._replace(colour=FR_COLOUR.get(name, look.colour))
        _band(ax, 100 * (1 - np.asarray(fractions)), networks, look, name)
    ax.set(xlabel="fully-connected weights kept [%]", ylabel=label, xscale="log")
    ax.set(xlim=(100, 0.1), xticks=[100, 10, 1, 0.1], xticklabels=["100", "10", "1", "0.1"])
    if linear is not None:
        ax.set_yscale("symlog", linthresh=linear)
    if not curves:
        not_run(ax)
    elif legend:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8)


def regimes(ax: Axes, shares: Mapping[str, Mapping[str, float]]) -> None:
    """Stacked shares of the weights in each regime: {layer: {regime: share}}, each adding up to 1."""
    colours = {"likelihood": BLUE, "between": "#dddddd", "prior": ORANGE}
    for row, parts in enumerate(shares.values()):
        left = 0.0
        for (regime, share), hatch in zip(parts.items(), ("", "..", "//"), strict=True):
            named = {"label": regime} if row == 0 else {}
            ax.barh(row, 100 * share, left=left, height=0.6, color=colours[regime], hatch=hatch, ec="white", **named)
            left += 100 * share
    ax.set(yticks=range(len(shares)), yticklabels=list(shares), xlim=(0, 100))
    ax.set_xlabel("weights [%] whose scale is set by")
    ax.grid(axis="y", visible=False)
    if shares:
        ax.invert_yaxis()
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8)
    else:
        not_run(ax)


def wrong_counts(ax: Axes, galaxies: np.ndarray, independent: np.ndarray) -> None:
    """How many galaxies k of K trainings get wrong, (K + 1,), and how many if their errors fell anywhere."""
    k = np.arange(len(galaxies))
    ax.bar(k, galaxies, color=BLUE, width=0.8, label="found")
    ax.plot(k, independent, color=VERMILION, ls="--", marker="o", ms=4, label="if errors fell anywhere")
    ax.set_yscale("log")
    ax.set(ylim=(0.3, 2 * galaxies.max()), xticks=k, ylabel="galaxies")
    ax.set_xlabel(f"of {len(k) - 1} trainings wrong")
    ax.grid(axis="x", visible=False)
    ax.legend()


def against_ratio(ax: Axes, ratio: np.ndarray, p_frii: np.ndarray, labels: np.ndarray, always: np.ndarray) -> None:
    """What networks say against the Fanaroff-Riley ratio on the image, one point for each galaxy, (N,) each.

    ``labels``: 0 FRI, 1 FRII; those that ``always`` are wrong stand out.
    """
    for label, (name, colour) in enumerate(list(FR_COLOUR.items())[:2]):
        own = labels == label
        looks = {"color": colour, "marker": MARKERS[label], "ls": "none"}
        ax.plot(ratio[own & ~always], p_frii[own & ~always], ms=3, alpha=0.35, mew=0, **looks, label=f"labelled {name}")
        wrong = own & always
        ax.plot(ratio[wrong], p_frii[wrong], ms=7, mec=BLACK, mew=1, **looks, label=f"{name}, always wrong")
    ax.axhline(0.5, color="#777777", lw=1, ls="--")
    ax.set(xlabel="distance of the brightest points / extent", ylabel="P(FRII), mean of the trainings")
    _legend_above(ax, ncols=2)


def gallery(images: np.ndarray, titles: Sequence[str], *, source: str, columns: int = 4) -> Figure:
    """Galaxies (N, H, W) with a title each, whose images come from ``source``."""
    import matplotlib.pyplot as plt

    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.1 * columns, 2.6 * rows + 0.3), squeeze=False)
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        galaxy(ax, image, title)
    for ax in axes.flat[len(images) :]:
        ax.set_visible(False)
    credit(figure, source)
    return figure


def causes(axes: Sequence[Axes], found: Mapping[str, Mapping[str, Any]]) -> None:
    """T*, the largest T that learns, and the NLL lost at T = 1, one row for each candidate of ``causes.all_read``.

    Bars of temperatures are the range of the folds, of the loss its interval. Hollow where T = 1 guesses in a fold.
    """
    rows = [(group, title, cause) for group, those in found.items() for title, cause in those.items()]
    colours = dict(zip(found, COLOURS, strict=False))
    for y, (group, _, cause) in enumerate(rows):
        spreads = [cause.star, cause.warmest, cause.lost and cause.lost.interval]
        for ax, spread in zip(axes, spreads, strict=True):
            if spread is None:
                ground = {"facecolor": ax.get_facecolor(), "edgecolor": "none", "pad": 1}  # over the line at zero
                where = ax.get_yaxis_transform()
                ax.text(0.03, y, cause.no_temperature, va="center", color="#555555", transform=where, bbox=ground)
                continue
            _whisker(ax, y, (spread, 0 if cause.guesses else N_FOLDS), colours[group], "o")
    labels = [f"{title} ({cause.lost.folds if cause.lost else 0})" for _, title, cause in rows]
    titles = ("T*", "largest T that learns", "NLL lost at T = 1 [nats]")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(yticks=range(len(rows)), yticklabels=labels, ylim=(len(rows) - 0.5, -0.5), xlabel=title)
        ax.grid(axis="y", visible=False)
        ax.label_outer()
    for ax in axes[:2]:
        ax.set(xlim=(8e-4, 2))
        ax.set_xscale("log")
        ax.axvline(1, color=BLACK, lw=1, ls=":")
    axes[2].axvline(0, color=BLACK, lw=1, ls=":")
    handles = [axes[0].plot([], [], "o", color=colour, label=group)[0] for group, colour in colours.items()]
    axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)


def detection(found: Mapping[str, Mapping[str, Mapping[str, Any]]], *, columns: int = 3) -> Figure:
    """AUROC of every score for every kind of input, a panel for each method: {method: {kind: {score: found}}}.

    An empty panel was not run; dotted: chance.
    """
    import matplotlib.pyplot as plt

    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(9, 0.9 + 2.6 * rows), sharex=True, sharey=True, squeeze=False)
    scores = list(next(iter(next(iter(found.values())).values())))
    colours = dict(zip(scores, COLOURS, strict=False))
    for ax, (title, kinds) in zip(axes.flat, found.items(), strict=False):
        run = any(of is not None for by_score in kinds.values() for of in by_score.values())
        shown = kinds if run else dict.fromkeys(kinds, {})
        forest(ax, shown, label="AUROC", reference=0.5, colours=colours, legend=False)
        ax.set_title(title, fontsize=10)
        ax.set_xlim(-0.02, 1.02)
    for ax in axes.flat[len(found) :]:
        ax.set_visible(False)
    for ax in axes.flat:
        ax.label_outer()
    handles = [
        axes[0, 0].plot([], [], ROW_MARKERS[k % len(ROW_MARKERS)], color=colour, label=name)[0]
        for k, (name, colour) in enumerate(colours.items())
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def not_run(ax: Axes) -> None:
    """Write over empty axes that the runs they would show do not exist."""
    ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center", color="#555555")


def _band(ax: Axes, x: np.ndarray, networks: np.ndarray, look: Look, name: str) -> None:
    ax.plot(x, networks.mean(axis=0), color=look.colour, ls=look.line, lw=2, label=name)
    ax.fill_between(x, networks.min(axis=0), networks.max(axis=0), color=look.colour, alpha=0.15, lw=0)

import matplotlib as mpl
import numpy as np
import pytest
from scenarios import galaxies

mpl.use("Agg")
from matplotlib import pyplot as plt

from radio_bnn import figures
from radio_bnn.data.galaxies import CLASSES


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def contrast(a: str, b: str = "#ffffff") -> float:
    """WCAG contrast ratio of two colours, 1..21."""

    def luminance(colour: str) -> float:
        c = np.array(mpl.colors.to_rgb(colour))
        return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_ground_is_opaque_white_and_the_main_colours_stand_out():
    figures.use_style()
    assert mpl.colors.to_rgba(mpl.rcParams["figure.facecolor"]) == (1, 1, 1, 1)
    assert all(contrast(c) >= 3 for c in figures.FR_COLOUR.values())


def test_series_differ_in_more_than_colour():
    assert len(figures.LINES) == len(set(map(str, figures.LINES))) == len(figures.COLOURS) == len(set(figures.COLOURS))


def test_every_class_is_shown_once_and_the_source_is_named():
    figure = figures.classes(galaxies(), source="simulated", columns=3)
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert len(titles) == len(set(galaxies().code))
    assert titles[0].startswith(CLASSES[100].split(",")[0])
    assert "SIMULATED" in figure.get_supxlabel()
    assert "FIRST survey" in figures.CREDIT["mirabest"]


def test_densities_draw_what_they_are_given():
    _, ax = plt.subplots()
    figures.densities(ax, np.array([-1.0, 0.0, 1.0]), {"a": np.log([1.0, 2.0, 1.0])})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1, 2, 1])


def test_intervals_and_null_draw_value_and_ends():
    _, (a, b) = plt.subplots(1, 2)
    figures.intervals(a, {"x": (2.0, 1.0, 4.0)}, label="error [%]")
    assert list(a.lines[0].get_xdata()) == [1.0, 4.0]
    assert list(a.lines[1].get_xdata()) == [2.0]
    figures.against_null(b, {"x": 3.0}, {"x": (2.0, 1.0, 4.0)}, label="UCE [%]")
    [bar] = b.patches
    assert (bar.get_x(), bar.get_width()) == (1.0, 3.0)
    assert list(b.lines[-1].get_xdata()) == [3.0]


def test_cumulative_sizes_end_at_one():
    figure, axes = plt.subplots(1, 2)
    g = galaxies()
    g.size[:] = np.arange(len(g))
    figures.sizes(axes, g)
    for line in axes[0].lines:
        assert line.get_ydata()[-1] == 1
    assert "arcsec" in axes[0].get_xlabel()

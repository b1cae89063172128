import matplotlib as mpl
import numpy as np
import pytest
from scenarios import galaxies

mpl.use("Agg")
from matplotlib import pyplot as plt

from radio_bnn.data.galaxies import CLASSES
from radio_bnn.paper import figures


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


@pytest.mark.parametrize("colours", [figures.COLOURS, (figures.BLACK, *figures.COLOURS)])
def test_twelve_series_differ_in_more_than_colour(colours):
    names = [str(i) for i in range(12)]
    found = figures.series(dict.fromkeys(names), colours)
    assert [name for name, _, _ in found] == names
    assert len({(look.colour, str(look.line)) for _, _, look in found}) == 12
    assert len({(look.colour, look.marker) for _, _, look in found}) == 12
    first = [look for _, _, look in found[: len(figures.COLOURS)]]
    assert [look.line for look in first] == list(figures.LINES)
    assert {look.marker for look in first} == {"o"}


def test_more_series_than_can_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="13 series in one figure: no more than 12"):
        figures.series(dict.fromkeys(range(13)))


GRID = np.array([0.1, 1.0])
CURVE = {0.1: ((2.0, 1.0, 3.0), [1.5, 2.5]), 1.0: ((3.0, 2.0, 4.0), [3.0])}
NAMED = {
    "densities": (lambda ax, v: figures.densities(ax, GRID, v), np.log(GRID)),
    "against_temperature": (lambda ax, v: figures.against_temperature(ax, v, label="NLL"), CURVE),
    "cumulative": (lambda ax, v: figures.cumulative(ax, v, label="nats"), GRID),
    "rejection": (lambda ax, v: figures.rejection(ax, v, label="error"), GRID[None]),
    "pruning_curves": (lambda ax, v: figures.pruning_curves(ax, GRID, v, label="NLL"), GRID[None]),
    "signal_to_noise": (lambda ax, v: figures.signal_to_noise((ax, ax.twinx()), np.arange(3.0), v), np.ones((1, 2))),
}


@pytest.mark.parametrize("name", NAMED)
def test_twice_as_many_series_as_colours_are_all_drawn(name):
    draw, value = NAMED[name]
    _, ax = plt.subplots()
    names = [f"series {i}" for i in range(2 * len(figures.COLOURS))]
    draw(ax, dict.fromkeys(names, value))
    drawn = [line for line in ax.lines if line.get_label().startswith("series")]
    assert [line.get_label().removesuffix(" (2)") for line in drawn] == names
    assert len({(line.get_color(), str(line._dash_pattern)) for line in drawn}) == len(names)


def test_a_number_under_every_protocol_is_hollow_on_few_folds_and_absent_where_nothing_was_run():
    _, ax = plt.subplots()
    numbers = {"one": ((2.0, 1.0, 3.0), 8), "two": ((4.0, 2.0, 5.0), 3), "three": None}
    figures.forest(ax, {title: {"": found} for title, found in numbers.items()}, label="NLL [nats]", reference=0.5)
    markers = {line.get_xdata()[0]: line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"}
    assert markers == {2.0: figures.BLUE, 4.0: "white"}
    assert [text.get_text() for text in ax.texts] == ["not run"] and ax.lines[0].get_xdata()[0] == 0.5
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two", "three"]


def test_where_there_are_fewer_galaxies_than_panels_all_are_shown():
    g = galaxies()
    figure = figures.side_by_side(g, g, source="simulated", n=4, skip=12)
    assert (g.code == 100).sum() == (g.code == 200).sum() == 14
    assert [bool(ax.images) for ax in figure.axes] == [ax.get_visible() for ax in figure.axes]
    assert sum(bool(ax.images) for ax in figure.axes) == 4 * 2


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


def test_a_forest_draws_intervals_is_hollow_for_few_folds_and_says_what_was_not_run():
    _, ax = plt.subplots()
    rows = {"a": {"FRI": ((2.0, 1.0, 4.0), 8), "FRII": ((3.0, 2.0, 5.0), 3)}, "b": {}, "c": {"FRI": None}}
    figures.forest(ax, rows, label="points", reference=0.5, colours=figures.FR_COLOUR, better="left")
    reference, first, value, second, other = ax.lines[:5]
    assert list(reference.get_xdata()) == [0.5, 0.5]
    assert (list(first.get_xdata()), list(second.get_xdata())) == ([1.0, 4.0], [2.0, 5.0])
    assert value.get_markerfacecolor() == figures.BLUE and other.get_markerfacecolor() == "white"
    assert value.get_ydata()[0] < 0 < other.get_ydata()[0]
    said = [(text.get_text(), text.get_position()[1]) for text in ax.texts if text.get_text() == "not run"]
    assert said == [("not run", 1), ("not run", 2)]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(figures.FR_COLOUR)
    assert ax.get_xlabel() == "points   ← better"


def test_cumulative_sizes_end_at_one():
    figure, axes = plt.subplots(1, 2)
    g = galaxies()
    g.size[:] = np.arange(len(g))
    figures.sizes(axes, g)
    for line in axes[0].lines:
        assert line.get_ydata()[-1] == 1
    assert "arcsec" in axes[0].get_xlabel()


def test_curves_show_means_intervals_folds_and_what_was_not_run():
    _, ax = plt.subplots()
    figures.against_temperature(ax, {"a": {0.1: ((0.5, 0.4, 0.7), [0.4, 0.6]), 1.0: None}}, label="NLL")
    mean, interval, hollow, folds, absent = ax.lines
    np.testing.assert_allclose(mean.get_xydata(), [[0.1, 0.5], [1.0, np.nan]])
    assert hollow.get_xydata().tolist() == [[0.1, 0.5]] and hollow.get_markerfacecolor() == "white"
    assert list(interval.get_ydata()) == [0.4, 0.7]
    assert list(folds.get_ydata()) == [0.4, 0.6]
    assert list(absent.get_xdata()) == [1.0]
    assert ax.get_xscale() == "log"


def test_a_curve_is_filled_on_eight_folds_and_stops_where_nothing_was_run():
    _, ax = plt.subplots()
    point = ((0.5, 0.4, 0.7), [0.5] * 8)
    figures.against_temperature(ax, {"a": {0.1: point, 0.2: None, 0.3: point, 1.0: point}}, label="NLL")
    assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False, True, False, False]
    large = [line for line in ax.lines if line.get_marker() == "o" and line.get_markersize() == 5]
    assert [line.get_markerfacecolor() for line in large] == [figures.BLUE]


def test_curves_without_any_record_say_so():
    figure, ax = plt.subplots()
    figures.against_temperature(ax, {"a": {0.1: None, 1.0: None}}, label="KL", yscale="log")
    figure.canvas.draw()
    assert [text.get_text() for text in ax.texts] == ["not run"]


def test_panels_share_an_axis_that_names_the_temperatures_that_were_planned():
    panels = {"J": ({"a": CURVE, "downward": {0.1: None, 0.5: None}}, 1.0), "NLL": ({"a": CURVE}, None)}
    figure = figures.by_temperature(panels, logarithmic=["J"], shaded=[(0.2, 0.6)], named="shaded")
    figure.canvas.draw()
    above, below = figure.axes
    assert above.get_xlim() == below.get_xlim() and above.get_yscale() == "log" and below.get_yscale() == "linear"
    assert [label.get_text() for label in below.get_xticklabels()] == ["0.1", "0.5", "1"]
    assert not above.get_xlabel() and below.get_xlabel() == "temperature T"
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "downward", "shaded"]
    for ax in figure.axes:
        [span] = ax.patches
        assert (span.get_x(), span.get_width()) == (0.2, pytest.approx(0.4))
    assert {line.get_marker() for line in above.lines if line.get_label() == "downward"} == {"v"}


def test_panels_without_any_record_are_drawn():
    figure = figures.by_temperature({"J": ({"a": {0.1: None, 1.0: None}}, 1.0)}, logarithmic=["J"])
    figure.canvas.draw()
    assert "not run" in [text.get_text() for text in figure.axes[0].texts]


def test_an_orbit_shows_everything_that_it_is_given():
    views = np.random.default_rng(0).integers(0, 255, (8, 5, 5))
    figure = figures.orbit(views, np.arange(8) / 10, source="simulated")
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[1] == "90°\nP(FRI) = 0.10"
    assert titles[7] == "270°, mirrored\nP(FRI) = 0.70"
    assert "SIMULATED" in figure.get_supxlabel()


def test_lines_pairs_and_medians_draw_what_they_are_given():
    _, axes = plt.subplots(1, 3)
    figures.lines(axes[0], {"a": ([1, 2], [3, 4]), "b": ([1], [5])}, labels=("epoch", "share"))
    assert [line.get_xydata().tolist() for line in axes[0].lines] == [[[1, 3], [2, 4]], [[1, 5]]]
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("epoch", "share")
    figures.agreement(axes[1], np.array([0.1, 0.9]), np.array([0.4, 0.2]), labels=("a", "b"))
    agree, pairs = axes[1].lines
    assert agree.get_xydata().tolist() == [[0.1, 0.1], [0.9, 0.9]]
    assert pairs.get_xydata().tolist() == [[0.1, 0.4], [0.9, 0.2]]
    figures.medians(axes[2], {1: (2, 1, 4), 3: (5, 4, 9)}, label="UCE")
    assert axes[2].lines[0].get_xydata().tolist() == [[1, 2], [3, 5]]
    [band] = axes[2].collections
    assert {tuple(v) for v in band.get_paths()[0].vertices} >= {(1, 1), (1, 4), (3, 4), (3, 9)}


def test_the_audit_draws_its_curves_where_they_belong():
    _, axes = plt.subplots(7, 1)
    figures.selection(axes[:2], {"a": np.array([0.25, 0.75]), "b": np.array([1.0, 0.0])}, {10: 1.0, 20: 3.0})
    assert [line.get_ydata().tolist() for line in axes[0].lines] == [[0.25, 1], [1, 1], [0.5, 1]]
    assert axes[1].lines[0].get_xydata().tolist() == [[10, 1], [20, 3]]
    figures.mixtures(axes[2], {"a": (GRID, -GRID), "b": (GRID, GRID)}, (14.0,), 0.5)
    assert axes[2].lines[2].get_xdata()[0] == 14
    assert [axes[2].patches[0].get_x(), axes[2].patches[0].get_width()] == [0.1, 0.4]
    figures.central_shares(axes[3], np.array([0.5, 1.0]), np.array([[4.0, 2.0], [6.0, 2.0]]), [0.64])
    assert axes[3].lines[0].get_xydata().tolist() == [[50, 5], [100, 2]]
    assert axes[3].lines[1].get_xdata()[0] == 64
    figures.reach(axes[4], np.linspace(-1, 3, 101), reach=0.9, needed=2.2)
    assert axes[4].lines[0].get_xydata()[1000].tolist() == pytest.approx([1, 0.5])
    assert [axes[4].patches[0].get_x(), axes[4].lines[1].get_xdata()[0]] == [-0.9, 2.2]
    null = {10.0: (5, 4, 6), 20.0: (8, 7, 9)}
    stored = {
        name: np.array([value]) for name, value in zip(("error", "uce", "promised", "null"), range(4), strict=True)
    }
    figures.uce_null(axes[5:], (null, {10.0: 3.0, 20.0: 4.0}), {50: (5, 4, 6), 100: (4, 3, 5)}, stored)
    drawn = [line.get_xydata().tolist() for line in axes[5].lines]
    assert drawn == [[[10, 5], [20, 8]], [[10, 3], [20, 4]], [[0, 1]], [[2, 3]]]


def test_posterior_samples_draw_every_draw_of_both_classes():
    _, axes = plt.subplots(1, 2)
    probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    figures.posterior_samples(axes, probs, "a galaxy")
    np.testing.assert_array_equal([line.get_ydata() for line in axes[0].lines], probs.T)


def test_cumulative_shares_count_each_group_to_one():
    _, ax = plt.subplots()
    figures.cumulative(ax, {"a": np.array([0.3, 0.1]), "b": np.array([0.2])}, label="entropy [nats]")
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, 0.1, 0.3])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0, 0.5, 1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a (2)", "b (1)"]


def test_entropy_lies_above_twice_the_error_and_meets_it_at_the_ends():
    _, ax = plt.subplots()
    figures.entropy_against_error(ax, np.array([1e-9, 0.11, 0.5]))
    entropy, error = (line.get_ydata() for line in ax.lines)
    np.testing.assert_allclose(entropy, [0, 0.5, 1], atol=1e-3)  # H(0.11) is half a bit
    assert entropy[1] > error[1] == 0.22


def test_reliability_draws_points_bars_and_counts():
    _, ax = plt.subplots()
    figures.reliability(ax, [np.array(x) for x in ([0.1, 0.8], [0.2, 0.9], [0, 0.6], [0.3, 1], [7, 5])])
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[0.1, 0.2], [0.8, 0.9]])
    np.testing.assert_array_equal(ax.collections[0].get_segments()[1][:, 1], [0.6, 1])
    assert [text.get_text() for text in ax.texts] == ["7", "5"]


def test_rejection_draws_the_mean_of_the_networks():
    _, ax = plt.subplots()
    figures.rejection(ax, {"model": np.array([[4.0, 2.0], [2.0, 0.0]])}, label="error [%]")
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 3], [50, 1]])


def test_signal_to_noise_is_normalised_and_ends_at_one():
    _, axes = plt.subplots(1, 2)
    figures.signal_to_noise(axes, np.array([-2.0, 0.0, 2.0, 4.0]), {"fc1": np.array([[1, 2, 1], [2, 2, 4]])})
    np.testing.assert_allclose(axes[0].lines[0].get_ydata() * 2, [0.25, 0.375, 0.375])
    assert axes[1].lines[0].get_ydata()[-1] == pytest.approx(1)


def test_pruning_curves_show_the_mean_and_the_range_of_the_networks():
    _, ax = plt.subplots()
    figures.pruning_curves(ax, (0.0, 0.5), {"random": np.array([[1.0, 2.0], [3.0, 6.0]])}, label="NLL", legend=True)
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[100, 2], [50, 4]])
    [band] = ax.collections
    assert {tuple(v) for v in band.get_paths()[0].vertices} >= {(100, 1), (100, 3), (50, 2), (50, 6)}
    assert ax.get_xlim() == (100, 0.1) and ax.get_xscale() == "log" and ax.get_yscale() == "linear"
    figures.pruning_curves(ax, (0.0, 0.5), {}, label="NLL", linear=0.02)
    assert ax.get_yscale() == "symlog"


def test_regimes_fill_a_hundred_percent():
    _, ax = plt.subplots()
    figures.regimes(ax, {"fc1": {"likelihood": 0.25, "between": 0.25, "prior": 0.5}})
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 25), (25, 25), (50, 50)]


def test_what_was_not_run_says_so():
    _, axes = plt.subplots(1, 4)
    figures.signal_to_noise(axes[:2], np.arange(3.0), {})
    figures.pruning_curves(axes[2], (), {}, label="NLL", legend=True)
    figures.regimes(axes[3], {})
    assert [ax.texts[0].get_text() for ax in axes] == ["not run"] * 4

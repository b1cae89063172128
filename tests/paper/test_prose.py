"""What chapters say is what ``{glue:text}`` prints."""

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from radio_bnn.paper.chapters import kernel_environment
from radio_bnn.paper.prose import say

SAID = """
import numpy as np, torch
from types import SimpleNamespace
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import claims
from radio_bnn.paper.prose import say
say(whole=14, share=0.125, text="0.62 [0.53, 0.72] − it's", digits="14", absent=None)
say(small=np.float32(0.5), count=np.int64(3), word=np.str_("Laplace"), scalar=np.array(0.25), tensor=torch.tensor(2.0))
ends = lambda level: Interval(0.5, 0.25, 0.75)
nll = SimpleNamespace(value=0.5, interval=ends, corrected_interval=ends)
claims.judge("C3", claims.Evidence({"NLL": nll}, 2)).say()
"""
PRINTED = {
    ("whole", "s"): "14",
    ("whole", ".1f"): "14.0",
    ("share", "s"): "0.125",
    ("share", ".0%"): "12%",
    ("text", "s"): "0.62 [0.53, 0.72] − it's",
    ("digits", "s"): "14",
    ("absent", "s"): "not run",
    ("small", ".2f"): "0.50",
    ("count", "s"): "3",
    ("word", "s"): "Laplace",
    ("scalar", "s"): "0.25",
    ("tensor", "s"): "2.0",
    ("c3_verdict", "s"): "undecided",
    ("c3_number", "s"): "+0.500 [+0.250, +0.750] nats",
    ("c3_folds", "s"): "2",
    ("c3_why", "s"): "2 folds, fewer than 3",
}


@pytest.fixture(scope="module")
def executed() -> nbformat.NotebookNode:
    notebook = new_notebook(cells=[new_code_cell(SAID)])
    with kernel_environment():
        return NotebookClient(notebook, kernel_name="python3").execute()


def test_the_role_prints_what_was_said_and_the_cell_shows_the_verdict_alone(executed):
    from myst_nb.core.variables import format_plain_text
    from myst_nb.ext.glue import extract_glue_data_cell

    [cell] = executed.cells
    found = {name: output["data"]["text/plain"] for name, output in extract_glue_data_cell(cell)}
    assert {(name, spec): format_plain_text(found[name], spec) for name, spec in PRINTED} == PRINTED
    assert set(found) == {name for name, _ in PRINTED}
    assert [output.data["text/plain"] for output in cell.outputs] == ["C3: undecided"]


@pytest.mark.parametrize(
    "value", [(1.0, 0.5, 2.0), [1], {"a": 1}, True, np.array([1.0]), torch.zeros(2), 1j, np.bool_(True), object()]
)
def test_what_no_sentence_can_print_is_refused_by_name(value):
    with pytest.raises(TypeError, match=r"error is a \w+, which no sentence can print"):
        say(error=value)

"""A target for links at every claim cell: `[](#claim-c3)` leads to the cell that judges C3."""

import re

from docutils import nodes

CELL, OUTPUT = "tag_claim", "cell_output"  # classes that MyST-NB gives to a tagged cell, and to what it shows
CLAIM = re.compile(r"C\d+[a-z]?(?=:)")  # how a verdict begins


def add_targets(app, doctree):
    """Give every cell with the tag "claim" an id, and make the id known as a label."""
    for cell in with_class(doctree, CELL):
        shown = " ".join(output.astext() for output in with_class(cell, OUTPUT))
        if claim := CLAIM.search(shown):
            label, domain = f"claim-{claim.group().lower()}", app.env.domains["std"]
            cell["ids"].append(label)
            domain.anonlabels[label] = app.env.docname, label
            domain.labels[label] = app.env.docname, label, claim.group()


def with_class(node, name):
    """The containers of a class below a node."""
    return [found for found in node.findall(nodes.container) if name in found["classes"]]


def setup(app):
    """Register with Sphinx."""
    app.connect("doctree-read", add_targets)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

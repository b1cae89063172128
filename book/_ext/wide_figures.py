"""Figures that a phone would shrink until nobody can read them get the class "wide", so that they can scroll there."""

import re
from pathlib import Path

from docutils import nodes

WIDTH = re.compile(r'<svg[^>]* width="([\d.]+)pt"')
MARKED = re.compile(r'<figure class="[^"]*\bwide\b[^"]*"')
WIDEST = 7.5 * 72  # points: at this width, type of 10 points is 6 pixels high on a screen of 390 pixels


def mark(app, doctree):
    """Mark the figures whose vector image is wider than WIDEST."""
    for figure in doctree.findall(nodes.figure):
        for image in figure.findall(nodes.image):
            path = Path(app.srcdir, image["uri"].lstrip("/"))
            found = WIDTH.search(path.read_text(encoding="utf-8")) if path.suffix == ".svg" else None
            if found and float(found.group(1)) > WIDEST:
                figure["classes"].append("wide")


def focus(app, pagename, templatename, context, doctree):
    """Let the keyboard reach what scrolls."""
    if body := context.get("body"):
        context["body"] = MARKED.sub(r'\g<0> tabindex="0"', body)


def setup(app):
    """Register with Sphinx."""
    app.connect("doctree-read", mark)
    app.connect("html-page-context", focus)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""The catalogue of all galaxies as a table: plain HTML, which DataTables sorts and searches where a script may run.

DataTables comes out of the Python package itables, whose file is copied into the built book. It is made a plain script,
because a browser loads no module from a page that was opened as a file.
"""

import csv
import re
from html import escape
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

EXPORTS = re.compile(r"export\s*\{([^{}]*\bas default\b[^{}]*)\}")
SCRIPTS = ("datatables.js", "galaxy_table.js")
STYLE = "datatables.css"
SIMBAD = "https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={ra}+{dec}&Radius=30&Radius.unit=arcsec"
CLASS, NONE = "all-galaxies", "–"


class GalaxyTable(SphinxDirective):
    """``galaxy-table``: the ECSV file that is named, one row for each galaxy; the content is the caption."""

    required_arguments = 1
    has_content = True

    def run(self):
        """The table as raw HTML."""
        _, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(path)
        found = table(rows_of(path), " ".join(self.content))
        return [nodes.raw("", found, format="html", classes=[CLASS, "full-width"])]


def rows_of(path):
    """The rows of an ECSV file with commas, {column: text}; what is masked is empty."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("# ")))


def table(rows, caption):
    """The table, which the keyboard can scroll."""
    head = "".join(f'<th scope="col" class="{kind}">{title}</th>' for kind, (title, _) in COLUMNS.items())
    body = "\n".join(row(galaxy) for galaxy in rows)
    return (
        '<div class="galaxies-scroll" tabindex="0" role="region" aria-label="All galaxies">\n'
        f'<table class="table galaxies">\n<caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
    )


def row(galaxy):
    """One row; its first cell is its heading."""
    first, *others = (shown(galaxy) for _, shown in COLUMNS.values())
    kind = ' class="candidate"' if galaxy["candidate"] == "True" else ""
    return f'<tr{kind}><th scope="row">{first}</th>{"".join(others)}</tr>'


def named(galaxy):
    """The name, a link to what SIMBAD knows near the position."""
    address = SIMBAD.format(ra=galaxy["ra"], dec=f"{float(galaxy['dec']):+}".replace("+", "%2B"))
    return f'<a href="{escape(address)}">{escape(galaxy["name"])}</a>'


def cell(shown, order=None):
    """A cell, which is sorted by ``order`` where its text can't be."""
    return f"<td>{escape(shown)}</td>" if order is None else f'<td data-order="{order}">{escape(shown)}</td>'


def number(name, decimals):
    """A column of numbers, sorted by all their decimals."""
    return lambda galaxy: cell(f"{float(galaxy[name]):.{decimals}f}", galaxy[name])


def label(galaxy):
    """What the humans said."""
    subclass = f", {galaxy['subclass']}" if galaxy["subclass"] else ""
    return cell(f"{galaxy['label']} {galaxy['confidence']}{subclass}")


def probability(galaxy):
    """P(FRII) with the central 95 % of the draws."""
    value, low, high = (float(galaxy[name]) for name in ("p_frii", "p_frii_low", "p_frii_high"))
    return cell(f"{value:.2f} [{low:.2f}, {high:.2f}]", value)


def networks(galaxy):
    """Which networks judge it."""
    n = int(galaxy["n_networks"])
    several = galaxy["confidence"] == "uncertain" or galaxy["label"] == "hybrid"
    return cell(f"{n} of 8 folds" if several else f"fold {galaxy['fold']}")


def contradicted(galaxy):
    """How many trainings contradict the label; a hybrid has none that could be."""
    if not galaxy["n_against"]:
        return cell(NONE, -1)
    candidate = ", candidate" if galaxy["candidate"] == "True" else ""
    return cell(f"{galaxy['n_against']}{candidate}", galaxy["n_against"])


# By class: title and cell.
COLUMNS = {
    "galaxy": ("galaxy", named),
    "humans": ("label by humans", label),
    "probability": ("P(FRII) [95 %]", probability),
    "against": ("trainings against", contradicted),
    "conformal": ("conformal set", lambda galaxy: cell(galaxy["conformal"])),
    "entropy": ("entropy [nats]", number("predictive_entropy", 2)),
    "information": ("mutual information [nats]", number("mutual_information", 2)),
    "networks": ("judged by", networks),
    "ra": ("RA [°]", number("ra", 3)),
    "dec": ("Dec [°]", number("dec", 3)),
    "redshift": ("z", number("redshift", 2)),
    "size": ("size [″]", number("size", 0)),
}


# DataTables


def plain_script(module):
    """The source of a module as a script that sets ``window.DataTable`` to its default export.

    Raises ExtensionError unless the module exports once and imports nothing.
    """
    found = EXPORTS.findall(module)
    if len(found) != 1 or re.search(r"^\s*import\b", module, re.MULTILINE):
        raise ExtensionError("itables: its DataTables is not one module with a default export; install itables 2.9")
    name = re.search(r"([\w$]+)\s+as default", found[0]).group(1)
    return f'(()=>{{"use strict";{EXPORTS.sub(lambda _: f"window.DataTable={name}", module)}\n}})();\n'


def copy_scripts(app):
    """Put DataTables and what starts it among the static files of a book in HTML."""
    if app.builder.name != "html":
        return
    if (found := find_spec("itables")) is None:
        raise ExtensionError("the page of all galaxies needs DataTables: pip install itables")
    bundle, static = Path(found.origin).parent / "html", Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    script = plain_script((bundle / "dt_bundle.js").read_text(encoding="utf-8"))
    (static / SCRIPTS[0]).write_text(script, encoding="utf-8")
    (static / STYLE).write_bytes((bundle / "dt_bundle.css").read_bytes())
    (static / SCRIPTS[1]).write_bytes(Path(__file__).with_suffix(".js").read_bytes())


def is_table(node):
    """Whether raw text of a page is such a table."""
    return CLASS in node["classes"]


def add_scripts(app, pagename, templatename, context, doctree):
    """Load them on pages with such a table and on no others."""
    if app.builder.name == "html" and doctree is not None and any(map(is_table, doctree.findall(nodes.raw))):
        app.add_css_file(STYLE)
        for name in SCRIPTS:
            app.add_js_file(name, loading_method="defer")


def setup(app):
    """Register with Sphinx."""
    app.add_directive("galaxy-table", GalaxyTable)
    app.connect("builder-inited", copy_scripts)
    app.connect("html-page-context", add_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

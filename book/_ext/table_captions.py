"""Numbered tables: a figure that holds a table becomes that table, with the figure's name and caption.

MyST-NB wraps what a cell shows in a figure, whatever it is (`mystnb.figure` in the cell's metadata).
"""

from docutils import nodes


def caption_tables(app, doctree):
    """Give the first table of every figure the figure's ids, names and caption, and take the figure away."""
    for figure in list(doctree.findall(nodes.figure)):
        if (table := next(figure.findall(nodes.table), None)) is None:
            continue
        for key in ("ids", "names"):
            table[key] += figure[key]
        doctree.ids.update(dict.fromkeys(figure["ids"], table))
        for caption in [child for child in figure if isinstance(child, nodes.caption)]:
            figure.remove(caption)
            table.insert(0, nodes.title(caption.rawsource, "", *caption.children))
        figure.replace_self(figure.children)


def setup(app):
    """Register with Sphinx."""
    app.connect("doctree-read", caption_tables)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

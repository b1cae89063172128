"""Tables that a phone shows as cards, one for each row: those in a container of class "cards"."""

from docutils import nodes


def label(app, doctree):
    """Begin every cell with the title of its column, which the style sheet shows on a phone only."""
    for container in [node for node in doctree.findall(nodes.container) if "cards" in node["classes"]]:
        for table in container.findall(nodes.table):
            head, body = next(table.findall(nodes.thead)), next(table.findall(nodes.tbody))
            titles = [entry.astext() for entry in head.findall(nodes.entry)]
            for row in body.findall(nodes.row):
                for title, entry in zip(titles, row.children, strict=True):
                    if entry.astext():
                        entry[0].insert(0, nodes.inline("", f"{title}: ", classes=["card-title"]))


def setup(app):
    """Register with Sphinx."""
    app.connect("doctree-read", label)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

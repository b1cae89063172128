"""Mend the markup of docutils and pandas that screen readers stumble over."""


def fix(app, pagename, templatename, context, doctree):
    """Drop roles that a citation list may not have, and header cells without a text."""
    body = context.get("body")
    if body:
        body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
        context["body"] = body.replace(' role="doc-biblioentry"', "").replace("<th></th>", "<td></td>")


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", fix)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

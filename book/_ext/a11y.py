"""Mend the markup of docutils and Sphinx that screen readers stumble over."""

import re

TWICE = re.compile(r'<section id="((?:exercise|solution)-content)">')  # every exercise has the same id
PARAMETERS = re.compile(r'<dl>\s*<dd>(?=<em class="sig-param">).*?</dl>', re.DOTALL)


def fix(app, pagename, templatename, context, doctree):
    """Drop roles that a citation list may not have, ids that come twice, and lists without terms."""
    body = context.get("body")
    if body:
        body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
        body = TWICE.sub(r'<section class="\1">', body.replace(' role="doc-biblioentry"', ""))
        context["body"] = PARAMETERS.sub(as_blocks, body)


def as_blocks(signature):
    """The parameters of a long signature as blocks: Sphinx makes them a list of definitions without terms."""
    parts = re.sub(r"<(/?)d[ld]>", r"<\1div>", signature.group())
    return parts.replace("<div>", '<div class="sig-parameters">', 1)


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", fix)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

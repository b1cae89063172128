"""The package reference: find the package, and read its docstrings as the plain text that they are."""

import sys
from importlib.util import find_spec
from pathlib import Path

from sphinx.ext.autodoc.mock import _MockObject


def plain(app, kind, name, member, options, lines):
    """Keep bars and stars, as in |x| and p*, from being markup; ``code`` stays as it is."""
    for number, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [part.replace("|", "\\|").replace("*", "\\*") for part in parts[::2]]
        lines[number] = "``".join(parts)


def skip_aliases(app, kind, name, member, skip, options):
    """Leave out what the fields of a named tuple say about themselves."""
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else skip


def setup(app):
    """Register with Sphinx; without an installed package, take the one beside the book."""
    _MockObject.__or__ = _MockObject.__ror__ = lambda self, other: self  # for aliases such as Tensor | None
    if find_spec("radio_bnn") is None:
        sys.path.append(str(Path(__file__).resolve().parents[2]))
    app.connect("autodoc-process-docstring", plain)
    app.connect("autodoc-skip-member", skip_aliases)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

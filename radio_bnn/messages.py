"""How errors speak of what they were given: in one line, however long or deep it is, with the name that is meant."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

LONGEST = 120
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 2
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = _BRIEF.maxfrozenset = 6
_BRIEF.maxstring = _BRIEF.maxlong = _BRIEF.maxother = 60


def shown(value: Any) -> str:
    """``repr(value)`` in one line of at most LONGEST characters; what is left out is dots.

    It looks no deeper than it shows, so that a value that refers to itself a billion times takes no longer.
    """
    try:
        text = _BRIEF.repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"{type(value).__name__} too long to print"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def meant(name: Any, known: Iterable[str]) -> str:
    """ ": did you mean 'temperature'?" where one of the ``known`` names is like ``name``, else empty."""
    near = difflib.get_close_matches(str(name)[:LONGEST], list(known), n=1) if isinstance(name, str) else []
    return f": did you mean {near[0]!r}?" if near else ""


def said(error: Exception) -> str:
    """What an error says, in one short line with its type; of errors whose words nobody here has chosen."""
    if isinstance(error, RecursionError):
        return "it nests too deeply"
    text = " ".join(str(error)[: 10 * LONGEST].split())
    return f"{type(error).__name__}: {text if len(text) <= LONGEST else text[: LONGEST - 3] + '...'}"

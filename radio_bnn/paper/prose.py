"""Values in the sentences of a chapter: what a cell says under a name, the role ``glue:text`` prints in the prose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

NOT_RUN = "not run"
FINDING = "application/vnd.radio-bnn.finding"


def say(**values: Any) -> None:
    """Give every value its name in the prose, where the role ``glue:text`` prints it; nothing is shown in the cell.

    Numbers may be formatted there, as in name:.2f, or here, as texts, which are printed as they are: emphasis stands
    around the role. Scalars of numpy and torch count as numbers; None reads "not run", as in the tables.
    Raises TypeError for anything else, before any value has its name.
    """
    from myst_nb import glue

    printable = {name: _printable(name, value) for name, value in values.items()}
    for name, value in printable.items():
        glue(name, value, display=False)


class Finding(NamedTuple):
    """A sentence or two, in Markdown, that the first page says beside the verdicts; the last value of a cell."""

    text: str

    def _repr_mimebundle_(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> dict[str, str]:
        return {"text/markdown": self.text, FINDING: self.text, "text/plain": self.text}


def _printable(name: str, value: Any) -> str | int | float:
    """The value as one of the types whose ``repr`` the role reads back; it would print that of any other as code."""
    if value is None:
        return NOT_RUN
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if type(value) not in (str, int, float):
        raise TypeError(
            f"{name} is a {type(value).__name__}, which no sentence can print: say a text or a number, "
            f'such as f"{{{name}:.2f}}"'
        )
    return value

"""Finished rows beside the output that they are for: what a killed call has done, the next one does not do again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from radio_bnn.sky.table import Row


class Part:
    """Rows in memory and, if there is a ``file``, on disk: one line of JSON each, written when they are added."""

    def __init__(self, rows: list[Row], file: FileIO | None = None) -> None:
        self.rows, self.file = rows, file

    def add(self, rows: Sequence[Row]) -> None:
        """Keep finished rows. Raises OSError, with what to do, if the disk takes no more."""
        if self.file is not None:
            try:
                _write(self.file, b"".join(_line(row) for row in rows))
            except OSError as error:
                raise OSError(
                    f"{self.file.name}: {error.strerror}; {len(self.rows)} finished rows are kept, the same command "
                    "goes on from there"
                ) from error
        self.rows.extend(rows)


def part_of(output: Path) -> Path:
    """The file of finished rows that belongs to an output."""
    return output.with_name(f"{output.name}.part")


@contextmanager
def part(output: Path | None, digest: str, *, multiple: int, afresh: bool = False) -> Iterator[Part]:
    """The rows that an earlier call with the same ``digest`` of inputs and settings has finished, to be added to.

    As many as are a multiple of ``multiple``. After the scope, if nothing was raised, they are no longer needed and
    the file is removed. Raises ValueError for rows of another call, which are dropped if ``afresh``.
    """
    if output is None:
        yield Part([])
        return
    path, head = part_of(output), _line({"digest": digest})
    with FileIO(path, "a+") as file:
        file.seek(0)
        lines = _whole_lines(file.readall())
        if lines and lines[0] != head and not afresh:
            raise ValueError(
                f"{path} holds finished rows of a call with other inputs or settings: delete it, or start afresh with "
                "--overwrite"
            )
        mine = bool(lines) and lines[0] == head
        kept = lines[1 : 1 + (len(lines) - 1) // multiple * multiple] if mine else []
        file.truncate(sum(map(len, [head, *kept])) if mine else 0)
        found = Part([json.loads(line) for line in kept], file)
        if not mine:
            _write(file, head)
        yield found
    path.unlink(missing_ok=True)


def _whole_lines(content: bytes) -> list[bytes]:
    """Without a last one that was being written when the call was killed."""
    return [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]


def _line(row: Row) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _write(file: FileIO, content: bytes) -> None:
    """All of it: one call may write less."""
    while content:
        content = content[file.write(content) :]

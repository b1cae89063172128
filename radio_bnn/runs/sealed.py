"""Two files that belong together, a JSON and a compressed one of arrays: written whole, sealed, read within bounds.

The JSON holds the digest of the arrays with their shapes and types, and last the digest of all that it says itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

LARGEST = 2**28  # bytes that the arrays of one record may take in memory
LARGEST_JSON = 2**24  # bytes
DTYPES = ("float16", "float32", "float64", "int64", "uint8", "uint16", "uint32")


def text_of(values: Mapping[str, Any]) -> str:
    """The JSON of a record with ``values``, and last the SHA-256 of all that it says."""
    plain = json.loads(json.dumps(values, allow_nan=False))
    plain["sha256"] = seal_of(plain)
    text = json.dumps(plain, indent=1) + "\n"
    if len(text) > LARGEST_JSON:
        raise ValueError(f"its JSON would have {len(text)} bytes, more than the {LARGEST_JSON} that a record may have")
    return text


def parsed(path: Path) -> dict[str, Any]:
    """What a JSON says, if it is an object of the size of a record."""
    text = read_bytes(path, LARGEST_JSON)
    if text is None:
        raise FileNotFoundError(f"No such file: {path.name}")
    values = json.loads(text.decode("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object with a schema, got {type(values).__name__}")
    return values


def read_bytes(path: Path, most: int) -> bytes | None:
    """What a file holds; None if there is none. Raises ValueError for another thing than a file, or a longer one."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep a reader waiting
            raise ValueError(f"{path.name} is no file")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    if len(data) > most:
        raise ValueError(f"{path.name} has more than the {most} bytes that it may have")
    return data


def seal_of(values: Mapping[str, Any]) -> str:
    """The SHA-256 of what a JSON says, however it is laid out."""
    return sha256_of({name: value for name, value in values.items() if name != "sha256"})


def waiting(path: Path) -> Path:
    """Where the arrays of a JSON are that is being replaced."""
    return path.with_suffix(".next.npz")


def finish(path: Path) -> None:
    """Put arrays in their place that a killed writer has left waiting, if they are those of the JSON."""
    with suppress(Exception):  # whatever a damaged file provokes: it is replaced
        left = waiting(path)
        if hashlib.sha256(left.read_bytes()).hexdigest() == parsed(path)["arrays"]["sha256"]:
            os.replace(left, path.with_suffix(".npz"))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One writer at a time in a folder, which is made if it is missing; several where the system cannot lock it.

    Two of those may leave one's JSON with the other's arrays, which ``read`` refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl

        held = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # Windows
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def arrays_of(path: Path, declared: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays with the digest and the headers that a JSON declares, checked before memory is taken for them."""
    entries = declared["entries"]
    if not entries:
        return {}
    size = check_size(entries)
    # While a record is replaced, a reader may come too early for the first place and too late for the second.
    for place in (path.with_suffix(".npz"), waiting(path), path.with_suffix(".npz")):
        data = read_bytes(place, 2 * size + LARGEST_JSON)
        if data is not None and hashlib.sha256(data).hexdigest() == declared["sha256"]:
            arrays = unpacked_arrays(data, entries)
            check_finite(arrays)
            return arrays
    if not path.with_suffix(".npz").exists():
        raise FileNotFoundError(f"No such file: {path.with_suffix('.npz').name}")
    raise ValueError(f"{path.stem}.npz is not the file that was written with it: its sha256 differs")


def entries_of(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What a JSON declares of arrays, {name: {"shape", "dtype"}}."""
    return {name: {"shape": list(values.shape), "dtype": values.dtype.name} for name, values in arrays.items()}


def check_size(entries: Mapping[str, Mapping[str, Any]]) -> int:
    """The bytes of arrays with these shapes and types. Raises ValueError for more than LARGEST, or other types."""
    size = 0
    for name, entry in entries.items():
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{name} is declared as {entry['dtype']!r}, expected one of {', '.join(DTYPES)}")
        if not all(isinstance(n, int) and n >= 0 for n in entry["shape"]):
            raise ValueError(f"{name} is declared with shape {entry['shape']}")
        size += math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize
    if size > LARGEST:
        raise ValueError(f"its arrays would take {size} bytes, more than the {LARGEST} that a record may take")
    return size


def unpacked_arrays(data: bytes, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays of an npz, each unpacked once its header is seen to be that of its entry."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a limit
                raise ValueError(f"{name} is compressed by method {member.compress_type}")
            with archive.open(member) as opened:
                np.lib.format.read_magic(opened)
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(opened)
                size = math.prod(shape) * dtype.itemsize
                if member.file_size != opened.tell() + size:
                    raise ValueError(f"{name} unpacks to {member.file_size} bytes, expected {opened.tell() + size}")
                if (found := {"shape": list(shape), "dtype": dtype.name}) != entries.get(name):
                    raise ValueError(f"{name} is {found}, not as declared: {entries.get(name)}")
                arrays[name] = np.ndarray(shape, dtype, bytearray(opened.read(size)), order="F" if fortran else "C")
    if missing := [name for name in entries if name not in arrays]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return arrays


def sha256_of(value: Any) -> str:
    """The SHA-256 of a value that JSON can say, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError for a number that is not finite."""
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite")

"""MiraBest (Porter & Scaife 2023): find or download the published archive, verify it, decode it.

``python -m radio_bnn.data.mirabest`` tries one download into the user's cache and says in one line what happened.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import pickletools
import re
import sys
import tarfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from radio_bnn.data.folds import divide
from radio_bnn.data.galaxies import CLASSES, COUNTS, HOW_TO_GET_MIRABEST, IMAGE_SIZE, Galaxies, Splits
from radio_bnn.files import absolute, check_writable, named_place

LARGEST = 2**26  # bytes of an archive when it is unpacked; the published ones have less than half
MOST_OPCODES, MOST_GALAXIES = 20_000, 500  # of a batch; the published ones have 8,000 and 157
RECONSTRUCT, SCALAR = "numpy.core.multiarray _reconstruct", "numpy.core.multiarray scalar"
NDARRAY, DTYPE = "numpy ndarray", "numpy dtype"
BATCHES = (*(f"data_batch_{i}" for i in range(1, 8)), "test_batch")
NAME = re.compile(
    r"(?P<code>\d{3})_(?P<ra>\d{3}\.\d{3})(?P<dec>[+-]\d{3}\.\d{3})_(?P<redshift>\d\.\d+)_(?P<size>\d{4}\.\d{2})\.png"
)


@dataclass(frozen=True)
class Archive:
    """One published batching of MiraBest.

    ``checksum`` is ``"algorithm:hex"``, ``addresses`` are tried in their order, ``counts`` are galaxies per class in
    (training batches, test batch), checked if given.
    """

    file: str
    folder: str
    checksum: str
    addresses: tuple[str, ...] = ()
    counts: Mapping[int, tuple[int, int]] | None = None

    def matches(self, data: bytes) -> bool:
        """Whether these bytes are this archive."""
        algorithm, _, digest = self.checksum.partition(":")
        return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest() == digest


F_BATCHES = Archive(
    "MiraBest_F_batches.tar.gz",
    "F_batches",
    "sha256:5ad6b8fbe982e4f7ae52d3f88dd2e6cb03de0c4f7c00b00b92608c6e78a5243b",
    (
        "doi:10.5281/zenodo.4288837/MiraBest_F_batches.tar.gz",
        "http://www.jb.man.ac.uk/research/MiraBest/MiraBest_F/MiraBest_F_batches.tar.gz",
    ),
    COUNTS,
)
FULL_BATCHES = Archive(
    "MiraBest_full_batches.tar.gz",
    "batches",
    "md5:965b5daa83b9d8622bb407d718eecb51",
    ("http://www.jb.man.ac.uk/research/MiraBest/full_dataset/MiraBest_full_batches.tar.gz",),
)
ARCHIVES = (F_BATCHES, FULL_BATCHES)


class Unavailable(FileNotFoundError):
    """MiraBest is nowhere on this machine and could not be downloaded; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"MiraBest could not be had: {reason}. {HOW_TO_GET_MIRABEST}")
        self.reason = reason


def load(
    *,
    data_seed: int,
    fold: int | None = None,
    train_on: str = "confident",
    archives: Sequence[Archive] = ARCHIVES,
) -> Splits:
    """MiraBest from ``RADIO_BNN_DATA``, else the cache, else a download of the first of ``archives``.

    It is divided by ``fold`` and ``train_on``, or by ``data_seed`` where the fold is None, see ``folds.divide``.
    Raises ``Unavailable`` if none has it; ``FileNotFoundError`` or ``ValueError`` for a wrong ``RADIO_BNN_DATA``;
    ``ValueError`` for a ``fold`` of other galaxies than the published ones.
    """
    path = locate(archives) or fetch(archives[0])
    galaxies, archive, sha256 = read(path, archives)
    division = {"data_seed": data_seed, "fold": fold, "train_on": train_on}
    return divide(galaxies, source="mirabest", sha256=sha256, archive=archive.file, **division)


def locate(archives: Sequence[Archive] = ARCHIVES) -> Path | None:
    """The archive on this machine: where ``RADIO_BNN_DATA`` says, else an intact one in the cache, else ``None``."""
    if place := named_place("RADIO_BNN_DATA"):
        return _named_by_the_user(place, archives)
    cached = [(archive, cache_folder() / archive.file) for archive in archives]
    return next((path for archive, path in cached if path.is_file() and archive.matches(path.read_bytes())), None)


def cache_folder() -> Path:
    """``RADIO_BNN_CACHE``, else the operating system's cache folder for ``radio_bnn``."""
    if folder := named_place("RADIO_BNN_CACHE"):
        return folder
    from platformdirs import user_cache_path

    return absolute(user_cache_path("radio_bnn"), of="the cache folder")


def fetch(
    archive: Archive = F_BATCHES, *, folder: Path | None = None, timeout: float = 10.0, limit: float = 120.0
) -> Path:
    """Download one archive into a folder (default the cache) and verify it; the first address that works serves.

    ``timeout`` seconds without an answer, or ``limit`` seconds in all, end the attempt at one address. An interrupted
    or wrong download leaves no file. Raises ``Unavailable``, also if ``RADIO_BNN_OFFLINE`` is set.
    """
    if os.environ.get("RADIO_BNN_OFFLINE", "0") not in ("", "0"):
        raise Unavailable("it is neither in RADIO_BNN_DATA nor in the cache, and RADIO_BNN_OFFLINE forbids a download")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pooch imports tqdm.auto, which misses Jupyter widgets aloud
        import pooch

    folder = folder or cache_folder()
    try:
        check_writable(folder, of="set RADIO_BNN_CACHE to a folder that can")
    except OSError as problem:
        raise Unavailable(str(problem)) from problem
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for address in archive.addresses:
        try:
            with _Progress(limit, desc=archive.file) as bar:
                download = _downloader(address, timeout=timeout, bar=bar)
                return Path(pooch.retrieve(address, archive.checksum, archive.file, folder, downloader=download))
        except Exception as error:  # whatever goes wrong at one address, the next one may serve
            failures.append(f"{address} ({_brief(error)})")
    raise Unavailable(f"the download failed: {'; '.join(failures)}")


def read(path: Path, archives: Sequence[Archive] = ARCHIVES) -> tuple[Galaxies, Archive, str]:
    """Every galaxy of an archive (training batches 1 to 7, then the test batch), which archive it is, its SHA-256.

    Nothing is extracted to disk and no pickle can run code. Raises ``ValueError`` for a file that is not one of
    ``archives``, or whose content is not as published.
    """
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    archive = next((a for a in archives if a.matches(data)), None)
    if archive is None:
        known = " or ".join(f"{a.file} ({a.checksum})" for a in archives)
        raise ValueError(
            f"{path} ({len(data)} bytes, sha256:{sha256}) is not {known}: it is truncated, corrupted or another file. "
            + HOW_TO_GET_MIRABEST
        )
    try:
        galaxies = _decode(data, archive)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return galaxies, archive, sha256


class _Mark:
    """Where the members of a tuple, list or dict begin on the stack."""


class _Global:
    """One of the four globals of the batches, by its name; refused before anything is looked up."""

    def __init__(self, name: str) -> None:
        if name not in (RECONSTRUCT, SCALAR, NDARRAY, DTYPE):
            raise pickle.UnpicklingError(f"it asks for {name[:80].replace(' ', '.')}, which no MiraBest batch holds")
        self.name = name


class _Type:
    """A dtype of plain numbers or of text, by its code."""

    def __init__(self, code: str) -> None:
        if not re.fullmatch(r"[iuf][1248]|U\d{1,4}", code):
            raise pickle.UnpicklingError(f"it holds the dtype {code[:20]!r}, which no MiraBest batch does")
        self.code = code


class _Array:
    """An array that has been begun, and is whole when its ``values`` are there."""

    values: np.ndarray | None = None


class _Unpickler:
    """Reads what the batches hold, and nothing else of the language of pickles.

    Their opcodes, and two for shorter batches; their four globals, which are stood in for and not looked up.
    It makes numbers, text, bytes, ``_Array``, tuples, lists, and dicts whose keys are text, none larger than what the
    file holds of it. So nothing runs, no C code meets an invented state, and nothing that could nest without end is
    hashed, compared or printed. Whatever else a file holds is an exception.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.stack, self.memo = file, [], {}

    def load(self) -> Any:
        """The object of the pickle."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self.file)):
            if count == MOST_OPCODES:
                raise pickle.UnpicklingError(f"it has more than {MOST_OPCODES} opcodes")
            if opcode.name == "STOP":
                return self.stack.pop()
            self._do(opcode.name, argument)

    def _do(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "PROTO":
                return
            case "BININT" | "BININT1" | "BININT2" | "BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES":
                stack.append(argument)
            case "NONE" | "NEWFALSE" | "NEWTRUE":
                stack.append({"NONE": None, "NEWFALSE": False, "NEWTRUE": True}[opcode])
            case "MARK" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"MARK": _Mark, "EMPTY_LIST": list, "EMPTY_DICT": dict}[opcode]())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._popped(int(opcode[-1]))))
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "APPEND" | "APPENDS" | "SETITEMS":
                _fill(self._popped(1) if opcode == "APPEND" else self._marked(), stack[-1])
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(_Global(argument))
            case "REDUCE":
                stack.append(_reduced(*self._popped(2)))
            case "BUILD":
                _build(stack.pop(), stack[-1])
            case _:
                raise pickle.UnpicklingError(f"it holds the opcode {opcode}, which no MiraBest batch does")

    def _popped(self, n: int) -> list[Any]:
        return [self.stack.pop() for _ in range(n)][::-1]

    def _marked(self) -> list[Any]:
        found = []
        while not isinstance(value := self.stack.pop(), _Mark):
            found.append(value)
        return found[::-1]


def _fill(values: list[Any], place: Any) -> None:
    """Put what lay on the stack into the list or dict below it."""
    if isinstance(place, list):
        place += values
    elif isinstance(place, dict) and all(isinstance(key, str) for key in values[::2]):
        place.update(zip(values[::2], values[1::2], strict=True))
    else:
        raise pickle.UnpicklingError("it fills what is neither a list nor a dict whose keys are text")


def _reduced(function: Any, arguments: tuple[Any, ...]) -> _Type | _Array | str:
    """What a call of one of the globals stands for: a dtype, an array without values yet, or text."""
    name = function.name if isinstance(function, _Global) else None
    if name == DTYPE:
        return _Type(arguments[0])
    if name == RECONSTRUCT:
        return _Array()
    if name == SCALAR and arguments[0].code.startswith("U"):
        return arguments[1].decode("utf-32-le").rstrip("\0")
    raise pickle.UnpicklingError("it calls what no MiraBest batch does")


def _build(state: Any, value: Any) -> None:
    """Give an array its values. The state of a dtype says nothing beside its code but the order of its bytes."""
    if isinstance(value, _Type) and state[1] in ("<", "|"):
        return
    if not isinstance(value, _Array) or value.values is not None or state[2].code.startswith("U"):
        raise pickle.UnpicklingError("it gives a state to what has none in a MiraBest batch")
    _, shape, dtype, fortran, content = state
    value.values = np.frombuffer(content, f"<{dtype.code}").reshape(shape, order="F" if fortran is True else "C")


class _Progress(tqdm):
    """A progress bar that ends a download which trickles on for more than ``limit`` seconds."""

    def __init__(self, limit: float, *, desc: str) -> None:
        super().__init__(desc=desc, unit="B", unit_scale=True, leave=False)
        self.ends = time.monotonic() + limit

    def __bool__(self) -> bool:
        return True  # pooch asks whether there is a bar, tqdm cannot tell before it knows the size

    def update(self, n: float = 1) -> bool | None:
        if time.monotonic() >= self.ends:
            raise TimeoutError("it took too long")
        return super().update(n)


def _named_by_the_user(place: Path, archives: Sequence[Archive]) -> Path:
    files = " or ".join(archive.file for archive in archives)
    if not place.exists():
        raise FileNotFoundError(f"RADIO_BNN_DATA={place} does not exist. {HOW_TO_GET_MIRABEST}")
    if place.is_file():
        return place
    found = next((place / archive.file for archive in archives if (place / archive.file).is_file()), None)
    if found is None:
        raise FileNotFoundError(f"RADIO_BNN_DATA={place} is a folder without {files}. {HOW_TO_GET_MIRABEST}")
    return found


def _downloader(address: str, *, timeout: float, bar: tqdm):
    import pooch

    kind = pooch.DOIDownloader if address.startswith("doi:") else pooch.HTTPDownloader
    return kind(progressbar=bar, chunk_size=64, timeout=timeout)  # small, for the bar to notice a trickle early


def _brief(error: Exception) -> str:
    """The kind of a connection failure, whose text is long and different each time; the text of any other."""
    import requests

    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return type(error).__name__ if isinstance(error, lost) else f"{type(error).__name__}: {error}"


def _decode(data: bytes, archive: Archive) -> Galaxies:
    try:
        members = _members(data)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"not a readable .tar.gz archive ({error})") from error
    images, names, in_test_batch = [], [], []
    for name in BATCHES:
        batch_images, batch_names = _batch(members, f"{archive.folder}/{name}")
        images += batch_images
        names += batch_names
        in_test_batch += [name == "test_batch"] * len(batch_names)
    galaxies = _galaxies(np.stack(images), names, np.array(in_test_batch))
    if archive.counts is not None:
        _check_counts(galaxies, archive.counts)
    return galaxies


def _members(data: bytes) -> dict[str, memoryview]:
    """The plain files of a .tar.gz by name; no link is followed, no size believed."""
    with gzip.open(io.BytesIO(data)) as file:
        unpacked = memoryview(file.read(LARGEST + 1))
    if len(unpacked) > LARGEST:
        raise ValueError(f"it unpacks to more than {LARGEST} bytes, expected MiraBest")
    found, place = {}, 0
    while place < len(unpacked) and any(block := bytes(unpacked[place : place + tarfile.BLOCKSIZE])):
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if member.size < 0:
            raise tarfile.InvalidHeaderError(f"a member has {member.size} bytes")
        start, place = place + tarfile.BLOCKSIZE, place + tarfile.BLOCKSIZE * (1 - -member.size // tarfile.BLOCKSIZE)
        if member.isreg():
            found[member.name] = unpacked[start : start + member.size]
    return found


def _batch(members: Mapping[str, memoryview], member: str) -> tuple[list[np.ndarray], list[str]]:
    """Images and base names of one batch, with every label, shape and type checked."""
    try:
        batch = _Unpickler(io.BytesIO(members[member])).load()
        images = [image.values if isinstance(image, _Array) else image for image in batch["data"]]
        names = [name.rpartition("/")[2][:200] for name in batch["filenames"]]
        codes = [list(CLASSES)[label] for label in batch["labels"]]
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{member} is not a MiraBest batch: {str(error)[:200] or type(error).__name__}") from error
    if not MOST_GALAXIES >= len(images) == len(names) == len(codes) > 0:
        raise ValueError(
            f"{member}: {len(images)} images, {len(names)} names, {len(codes)} labels; expected as many, at most "
            f"{MOST_GALAXIES}"
        )
    for image, name, code in zip(images, names, codes, strict=True):
        _check_galaxy(image, name, code, member)
    return images, names


def _check_galaxy(image: np.ndarray, name: str, code: int, member: str) -> None:
    shape = (IMAGE_SIZE, IMAGE_SIZE)
    if not isinstance(image, np.ndarray) or image.shape != shape or image.dtype != np.uint8:
        kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"{member}: the image of {name} is {kind}, expected uint8 {shape}")
    if (match := NAME.fullmatch(name)) is None:
        raise ValueError(f"{member}: the file name {name!r} is not label_RA+DEC_redshift_size.png")
    if int(match["code"]) != code:
        raise ValueError(f"{member}: {name} is labelled {code}, its name says {match['code']}")


def designation(name: str) -> str:
    """A galaxy's position as astronomers name it, from its file name: J0812+4347, truncated, not rounded.

    Raises ValueError for another name.
    """
    if (match := NAME.fullmatch(f"{name}.png")) is None:
        raise ValueError(f"{name!r} is not a name of MiraBest, label_RA+DEC_redshift_size")
    minutes = int(round(1000 * float(match["ra"])) * 4 // 1000)  # one degree of right ascension is four minutes
    arcmin = int(round(1000 * abs(float(match["dec"]))) * 60 // 1000)
    return f"J{minutes // 60:02d}{minutes % 60:02d}{match['dec'][0]}{arcmin // 60:02d}{arcmin % 60:02d}"


def title(name: str) -> str:
    """A galaxy's ``designation`` and, on a line below, the words of its label."""
    return f"{designation(name)}\n{CLASSES[int(name[:3])]}"


def _galaxies(images: np.ndarray, names: list[str], in_test_batch: np.ndarray) -> Galaxies:
    parsed = [NAME.fullmatch(name).groupdict() for name in names]
    columns = {key: np.array([float(row[key]) for row in parsed]) for key in ("ra", "dec", "redshift", "size")}
    code = np.array([int(row["code"]) for row in parsed])
    stems = np.array([name.removesuffix(".png") for name in names])
    return Galaxies(images=images, code=code, in_test_batch=in_test_batch, name=stems, **columns)


def _check_counts(galaxies: Galaxies, expected: Mapping[int, tuple[int, int]]) -> None:
    found = Counter(zip(galaxies.code.tolist(), galaxies.in_test_batch.tolist(), strict=True))
    for code, (train, test) in expected.items():
        if (found[code, False], found[code, True]) != (train, test):
            raise ValueError(
                f"class {code} has {found[code, False]} training and {found[code, True]} test galaxies, "
                f"expected {train} and {test}"
            )


def main() -> int:
    """Say in one line where MiraBest is, after one attempt to download it; 1 only if ``RADIO_BNN_DATA`` is wrong."""
    try:
        print(load(data_seed=0).banner())
    except Unavailable as unavailable:
        print(f"Simulated galaxies will be used. {unavailable}")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

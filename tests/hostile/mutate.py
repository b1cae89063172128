"""Damage of files: what disks, networks and strangers do to bytes, to text, and inside what is compressed.

Every function takes the bytes of a file and a ``random.Random``, and gives other bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

EXTREME_BYTES = [b"", b"\0", b"null", b"[]", b"{}", b"0", b"\xff\xfe\0", b"\x80\x04.", b"[" * 5000, b'{"a":' * 5000]
EXTREME_TEXT = [
    "nan", "-inf", "1e400", "-1", "0", "1" * 400, "1e-400", "2147483648", "-9223372036854775809", "0.5", "null", "true",
    "[]", "{}", '""', "''", "!!python/object/apply:os.system [x]", "&a [*a, *a]", "*a", "2024-13-99", "\u2028",
    "\U0001f52d", "1:1:1", "0x" + "f" * 3000, "<<",
]  # fmt: skip
EXTREME_VALUES = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "",
    "x", "nan", "0", "../../etc/passwd", "a\nb", "\ud800", "\0", "x" * 3000, [], {}, [[]], [None], {"": None},
    {"a": {"b": []}},
]  # fmt: skip


def flip_bits(content: bytes, random: Random) -> bytes:
    """One to eight bits are other ones."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 8)) if changed else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(content: bytes, random: Random) -> bytes:
    """The end is missing."""
    return content[: random.randrange(len(content) + 1)]


def insert(content: bytes, random: Random) -> bytes:
    """Something stands where nothing did: noise, or a part of the file again."""
    at, (start, stop) = random.randrange(len(content) + 1), _part(content, random)
    more = random.choice((random.randbytes(random.choice((1, 2, 8, 64))), content[start:stop]))
    return content[:at] + more + content[at:]


def remove(content: bytes, random: Random) -> bytes:
    """A part is missing."""
    start, stop = _part(content, random)
    return content[:start] + content[stop:]


def swap(content: bytes, random: Random) -> bytes:
    """Two parts have changed their places."""
    a, b, c, d = sorted(random.randrange(len(content) + 1) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def overwrite(content: bytes, random: Random) -> bytes:
    """An extreme number of one to eight bytes stands over others."""
    at, kind = random.randrange(len(content) + 1), random.choice("<>") + random.choice("bhiqfd")
    bits = 8 * struct.calcsize(kind)
    whole = (0, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)))
    number = struct.pack(kind, random.choice((float("nan"), float("inf"), -0.0) if kind[1] in "fd" else whole))
    return content[:at] + number + content[at + len(number) :]


def replace(content: bytes, random: Random) -> bytes:
    """Something else altogether has the name of the file."""
    return random.choice(EXTREME_BYTES)


def edit_text(content: bytes, random: Random) -> bytes:
    """A number, a word or a line of a text is another one, stands twice, or is missing."""
    pattern = random.choice((rb"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", rb"[A-Za-z_]+", rb"[^\n]+\n?", rb"[^\s:,]+"))
    found = list(re.finditer(pattern, content[:200_000]))
    if not found:
        return flip_bits(content, random)
    one, other = random.choice(found), random.choice(found)
    extreme = random.choice(EXTREME_TEXT).encode(errors="surrogatepass")
    new = random.choice((extreme, extreme, other[0], one[0] + other[0], b""))
    return content[: one.start()] + new + content[one.end() :]


def edit_json(content: bytes, random: Random) -> bytes:
    """A value of a JSON is another one, or a key is missing, new, or has another name."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return edit_text(content, random)
    holders = [holder for holder in _holders(tree) if len(holder)]
    if not holders:
        return json.dumps(random.choice(EXTREME_VALUES)).encode()
    holder = random.choice(holders)
    key = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    other = random.choice(holders)
    value = random.choice(list(other.values()) if isinstance(other, dict) else other)
    what = random.randrange(6)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[random.choice(("", "x", "constructor", str(key) + "_", str(key).upper()))] = holder.pop(key)
    else:
        holder[key] = value if what == 2 else random.choice(EXTREME_VALUES)
    try:
        return json.dumps(tree).encode()
    except (ValueError, RecursionError):  # a value has become a part of itself
        return edit_text(content, random)


def inside_gzip(content: bytes, random: Random) -> bytes:
    """What is compressed is damaged, and compressed again with a checksum that fits."""
    try:
        return gzip.compress(plainly(gzip.decompress(content), random), compresslevel=1, mtime=0)
    except (OSError, EOFError, zlib.error):
        return flip_bits(content, random)


def inside_zip(content: bytes, random: Random) -> bytes:
    """A member is damaged, has another name or is missing, and the archive is made again with checksums that fit."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:
        return flip_bits(content, random)
    if not members:
        return flip_bits(content, random)
    at = random.randrange(len(members))
    name, data = members[at]
    members[at : at + 1] = random.choice([[(name, plainly(data, random))]] * 4 + [[(name + "_", data)], []])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member in members:
            archive.writestr(*member)
    return out.getvalue()


def inside_png(content: bytes, random: Random) -> bytes:
    """A chunk of a PNG is damaged and has a checksum that fits."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += size + 12
    if not chunks:
        return flip_bits(content, random)
    i = random.randrange(len(chunks))
    kind, data = chunks[i]
    try:
        inside = zlib.decompress(data) if kind == b"IDAT" and random.random() < 0.5 else None
    except zlib.error:  # it was damaged before
        inside = None
    chunks[i] = kind, plainly(data, random) if inside is None else zlib.compress(plainly(inside, random))
    packed = (len(d).to_bytes(4) + k + d + zlib.crc32(k + d).to_bytes(4) for k, d in chunks)
    return content[:8] + b"".join(packed)


PLAIN: list[Callable[[bytes, Random], bytes]] = [flip_bits, truncate, insert, remove, swap, overwrite]
INSIDE = {b"\x1f\x8b": inside_gzip, b"PK": inside_zip, b"\x89P": inside_png}


def plainly(content: bytes, random: Random) -> bytes:
    """One damage that asks for no format."""
    return random.choice(PLAIN)(content, random)


def splice(content: bytes, other: bytes, random: Random) -> bytes:
    """The beginning of one file with the end of another."""
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]


def mutated(name: str, content: bytes, others: list[bytes], random: Random) -> bytes:
    """The content of the file ``name`` damaged once or twice, as its kind allows; it is spliced with ``others``."""
    ways = [*PLAIN, replace, lambda c, r: splice(c, r.choice(others), r)]
    if Path(name).suffix in (".json", ".ipynb"):
        ways += 3 * [edit_json, edit_text]
    elif b"\0" not in content[:4000]:
        ways += 6 * [edit_text]
    elif content[:2] in INSIDE:
        ways += 6 * [INSIDE[content[:2]]]
    elif content[:6] == b"SIMPLE":
        ways += 2 * [edit_text]
    for _ in range(random.choice((1, 1, 1, 2))):
        content = random.choice(ways)(content, random)
    return content


def _part(content: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.choice((1, 4, 64, 1024, len(content))))


def _holders(tree: Any) -> list[Any]:
    """Every list and mapping of a JSON, the outermost first."""
    found, todo = [], [tree]
    while todo:
        one = todo.pop()
        if isinstance(one, dict | list):
            found.append(one)
            todo += one.values() if isinstance(one, dict) else one
    return found

"""Ways to break a file: of its bytes, and of what its format is made of, with checksums mended so that more is read.

Every way takes the bytes of a sound file and a random generator, and gives the bytes of a broken one. Where a way does
not fit it may give the file back as it was.
"""

import copy
import gzip
import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, TypeAlias

import h5py
import numpy as np

Way: TypeAlias = Callable[[bytes, Random], bytes]

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1)
MUCH = 1 << 14  # bytes of a file's head or of a piece


def broken(data: bytes, random: Random, *, suffix: str, others: Sequence[bytes]) -> bytes:
    """The file, broken in one to three ways: of its format first, as long as it can be taken apart, then of its bytes.

    `others` are files to take pieces from.
    """
    ways = FORMATS.get(suffix, ())
    if ways and random.random() < 0.6:
        data = random.choice(ways)(data, random)
        with suppress(Exception):  # what is broken already cannot always be taken apart
            data = random.choice(ways)(data, random) if random.random() < 0.3 else data
        if random.random() < 0.7:
            return data
    for _ in range(random.choice((1, 1, 2, 3))):
        if random.random() < 0.08:
            data = spliced(data, random.choice(others), random)
        else:
            data = random.choice(BYTES)(data, random)
    return data


# Bytes


def _place(data: bytes, random: Random) -> int:
    """Somewhere in the file, often near its start or end, where headers are."""
    reach = random.choice((64, 512, MUCH, len(data), len(data)))
    at = random.randrange(max(min(reach, len(data)), 1))
    return at if random.random() < 0.8 else max(len(data) - 1 - at, 0)


def _piece(data: bytes, random: Random) -> tuple[int, int]:
    start = _place(data, random)
    return start, min(start + random.choice((1, 2, 4, 8, 16, 64, 512, MUCH)), len(data))


def flipped(data: bytes, random: Random) -> bytes:
    """Some bits turned round."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8, 64)) if data else 0):
        changed[_place(data, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def renumbered(data: bytes, random: Random) -> bytes:
    """An integer of 1 to 8 bytes set to one that overflows something."""
    size, at = random.choice((1, 2, 4, 8)), _place(data, random)
    number = (random.choice(NUMBERS) + random.choice((0, 0, 1, -1))) % 256**size
    return data[:at] + number.to_bytes(size, random.choice(("big", "little"))) + data[at + size :]


def cut_off(data: bytes, random: Random) -> bytes:
    """Without its end; at times with nothing left."""
    return data[: random.choice((0, 1, _place(data, random), random.randrange(len(data) + 1)))]


def removed(data: bytes, random: Random) -> bytes:
    """Without a piece of its middle."""
    start, end = _piece(data, random)
    return data[:start] + data[end:]


def doubled(data: bytes, random: Random) -> bytes:
    """With a piece twice, or many times."""
    start, end = _piece(data, random)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def swapped(data: bytes, random: Random) -> bytes:
    """With two pieces in each other's place."""
    (a, b), (c, d) = sorted((_piece(data, random), _piece(data, random)))
    return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def blanked(data: bytes, random: Random) -> bytes:
    """With a piece of zeros, ones or noise."""
    start, end = _piece(data, random)
    fill = random.choice((bytes(end - start), b"\xff" * (end - start), random.randbytes(end - start)))
    return data[:start] + fill + data[end:]


def grown(data: bytes, random: Random) -> bytes:
    """With noise put in."""
    at = _place(data, random)
    return data[:at] + random.randbytes(random.choice((1, 2, 4, 100))) + data[at:]


def spliced(data: bytes, other: bytes, random: Random) -> bytes:
    """Begins as one file and ends as another."""
    return data[: _place(data, random)] + other[_place(other, random) :]


BYTES: tuple[Way, ...] = (flipped, flipped, renumbered, renumbered, cut_off, removed, doubled, swapped, blanked, grown)


# Boxes of mp4, chunks of RIFF (avi, webp) and of PNG, segments of JPEG

HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta", b"meta", b"mvex", b"moof", b"traf"}


def _boxes(data: bytes) -> list[tuple[bytes, Any]]:
    """The boxes of an mp4 as (name, content), the content of those that hold others being a list of such."""
    boxes, at = [], 0
    while at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        size = size if 8 <= size <= len(data) - at else len(data) - at
        inside = data[at + 8 : at + size]
        boxes.append((name, _boxes(inside) if name in HOLDERS else inside))
        at += size
    return boxes


def _of_boxes(boxes: list[tuple[bytes, Any]]) -> bytes:
    parts = []
    for name, content in boxes:
        inside = _of_boxes(content) if isinstance(content, list) else content
        parts.append(struct.pack(">I", len(inside) + 8) + name + inside)
    return b"".join(parts)


def _chunks(data: bytes) -> list[tuple[bytes, Any]]:
    """The chunks of a RIFF file; RIFF and LIST hold others behind a name of four letters."""
    chunks, at = [], 0
    while at + 8 <= len(data):
        name, size = data[at : at + 4], min(int.from_bytes(data[at + 4 : at + 8], "little"), len(data) - at - 8)
        inside = data[at + 8 : at + 8 + size]
        if name in (b"RIFF", b"LIST"):
            chunks.append((name + inside[:4], _chunks(inside[4:])))
        else:
            chunks.append((name, inside))
        at += 8 + size + size % 2
    return chunks


def _of_chunks(chunks: list[tuple[bytes, Any]]) -> bytes:
    parts = []
    for name, content in chunks:
        inside = name[4:] + (_of_chunks(content) if isinstance(content, list) else content)
        parts.append(name[:4] + struct.pack("<I", len(inside)) + inside + bytes(len(inside) % 2))
    return b"".join(parts)


def _png(data: bytes) -> list[tuple[bytes, Any]]:
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks


def _of_png(chunks: list[tuple[bytes, Any]]) -> bytes:
    """With the checksums that fit."""
    rows = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(rows)


def _jpeg(data: bytes) -> list[tuple[bytes, Any]]:
    """The segments before the scan, and all the rest as the content of the last."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append((data[at : at + 2], data[at + 4 : at + 2 + size]))
        at += 2 + max(size, 2)
    return [*segments, (b"", data[at:])]


def _of_jpeg(segments: list[tuple[bytes, Any]]) -> bytes:
    parts = [n + struct.pack(">H", (len(c) + 2) % 65536) + c if n else c for n, c in segments]
    return b"\xff\xd8" + b"".join(parts)


def _lists(parts: list[tuple[bytes, Any]]) -> list[list[tuple[bytes, Any]]]:
    return [parts, *(found for _, content in parts if isinstance(content, list) for found in _lists(content))]


def _of_parts(
    apart: Callable[[bytes], list[tuple[bytes, Any]]], together: Callable[[list[tuple[bytes, Any]]], bytes]
) -> Way:
    """A way that removes, doubles, moves or changes a part of a file that `apart` takes apart."""

    def way(data: bytes, random: Random) -> bytes:
        parts = apart(data)
        some = random.choice([found for found in _lists(parts) if found] or [parts])
        if not some:
            return data
        row = random.randrange(len(some))
        what = random.choice(("remove", "double", "swap", "many", "change", "change", "change", "change"))
        if what == "remove":
            del some[row]
        elif what in ("double", "many"):
            some[row:row] = [some[row]] * (1 if what == "double" else 300)
        elif what == "swap":
            other = random.randrange(len(some))
            some[row], some[other] = some[other], some[row]
        else:
            leaves = [(found, r) for found in _lists(parts) for r, (_, c) in enumerate(found) if isinstance(c, bytes)]
            for found, row in random.sample(leaves, min(len(leaves), 1)):
                name, content = found[row]
                found[row] = (name, random.choice(BYTES)(content, random))
        return together(parts)

    return way


def of_matroska(data: bytes, random: Random) -> bytes:
    """An element of a webm or mkv (its size, its rate, its codec, ...) with another content."""
    tags = ("b0", "ba", "54b0", "54ba", "2ad7b1", "4489", "23e383", "86", "63a2", "83", "d7", "e7", "a3", "1f43b675")
    at = data.find(bytes.fromhex(random.choice(tags)), random.randrange(200))
    if at < 0:
        return data
    end = min(at + 12, len(data))
    return data[:at] + renumbered(data[at:end], random) + data[end:]


# JSON

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 2**31, 2**63, 2**64, -(2**70), 10**400, 1e308, -1e308, 1e-320, float("nan"),
    float("inf"), float("-inf"), "", "x", "0", "nan", "\ud800", "\0", "a" * 10_000, "../../../etc/passwd", "/dev/zero",
    [], {}, [[]], [None], [{}], {"": None}, [0] * 1000, [[0] * 3] * 1000, [[1, 2], [3]],
)  # fmt: skip


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key) of a value of dictionaries and lists."""
    found, waiting = [], [value]
    while waiting:
        holder = waiting.pop()
        for key, inner in holder.items() if isinstance(holder, dict) else enumerate(holder):
            found.append((holder, key))
            if isinstance(inner, dict | list):
                waiting.append(inner)
    return found


def _odd_value(random: Random) -> Any:
    if random.random() < 0.1:
        value: Any = 1
        for _ in range(random.choice((10, 60, 400))):
            value = [value] if random.random() < 0.5 else {"a": value}
        return value
    return copy.deepcopy(random.choice(ODD_VALUES))  # a list that is there twice might get into itself


def odd_json(value: Any, random: Random) -> None:
    """Change a value of dictionaries and lists in one place."""
    nodes = _nodes(value) if isinstance(value, dict | list) else []
    if not 0 < len(nodes) < 20_000:
        return
    holder, key = random.choice(nodes)
    what = random.choice(("odd", "odd", "odd", "remove", "move", "double"))
    if what == "odd":
        holder[key] = _odd_value(random)
    elif what == "move":
        other, place = random.choice(nodes)
        holder[key] = json.loads(json.dumps(other[place])) if place in other or isinstance(other, list) else None
    elif what == "double" and isinstance(holder, list):
        holder.extend([holder[key]] * random.choice((1, 3, 100)))
    else:
        del holder[key]


def of_json(data: bytes, random: Random) -> bytes:
    """JSON with odd values, missing or moved ones, or nested too deeply."""
    if random.random() < 0.03:
        deep = random.choice((500, 5_000, 500_000))
        return b'{"a":' * deep if random.random() < 0.3 else b"[" * deep + b"]" * deep
    value = json.loads(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        odd_json(value, random)
    return json.dumps(value).encode("utf-8", "replace")


# Text of words and numbers: BVH, ASF, AMC, XML

ODD_WORDS = (
    "", "0", "-1", "1e308", "-1e308", "1e999", "nan", "inf", "-inf", "1e-320", "99999999999999999999", "1" * 5000,
    "9" * 400, "0x10", "1_000", "٣", "²", "{", "}", "}" * 50, "#", ":", "End", "JOINT", "ROOT", "MOTION", "OFFSET",
    "CHANNELS", "Frames:", ":bonedata", ":hierarchy", "begin", "end", "\0", "\ufeff", "a" * 100_000,
)  # fmt: skip


def of_words(data: bytes, random: Random) -> bytes:
    """A word changed for an odd one or another of the file, or a line removed, doubled or moved."""
    text = data.decode("utf-8", "replace")
    if random.random() < 0.6:
        words = list(re.finditer(r"[^\s{}<>]+", text[: random.choice((500, 5_000, len(text)))]))
        if not words:
            return data
        word = random.choice(words)
        new = random.choice(ODD_WORDS) if random.random() < 0.7 else random.choice(words)[0]
        return (text[: word.start()] + new + text[word.end() :]).encode()
    lines = text.split("\n")
    row, other = random.randrange(len(lines)), random.randrange(len(lines))
    what = random.choice(("remove", "double", "swap", "many", "deep"))
    if what == "remove":
        del lines[row : row + random.choice((1, 1, 5))]
    elif what == "swap":
        lines[row], lines[other] = lines[other], lines[row]
    elif what == "deep":
        lines[row:row] = ["JOINT a", "{", "OFFSET 0 0 0", "CHANNELS 0"] * random.choice((1, 2_000))
    else:
        lines[row:row] = [lines[row]] * (1 if what == "double" else 1000)
    return "\n".join(lines).encode()


# Archives: .npz and .pt


def _members(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def _archive(members: Sequence[tuple[str, bytes]], method: int) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w", method) as archive:
        warnings.simplefilter("ignore")  # the same name may come twice
        for name, inside in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, inside)
    return content.getvalue()


def of_archive(data: bytes, random: Random) -> bytes:
    """A member changed, emptied, blown up, renamed, doubled or left out; its checksum fits."""
    members = _members(data)
    row = random.randrange(len(members))
    name, inside = members[row]
    what = random.choice(("change", "change", "header", "header", "empty", "zeros", "rename", "double", "out"))
    if what == "out":
        del members[row]
    elif what == "double":
        members.insert(row, (name, random.choice(members)[1]))
    else:
        odd_name = random.choice(("../" + name, "/" + name, name + "\\", "", "a/" * 200 + name, name.upper()))
        changed = {
            "change": lambda: random.choice(BYTES)(inside, random),
            "header": lambda: of_npy(inside, random),
            "empty": lambda: b"",
            "zeros": lambda: inside + bytes(20_000_000),
        }.get(what, lambda: inside)()
        members[row] = (odd_name if what == "rename" else name, changed)
    whole = _archive(members, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    return _claiming(whole, random) if random.random() < 0.15 else whole


def _claiming(data: bytes, random: Random) -> bytes:
    """An archive of which a header claims another size."""
    at = data.find(random.choice((b"PK\x01\x02", b"PK\x03\x04")))
    field = at + random.choice((20, 24) if data[at + 2] == 1 else (18, 22))
    return data[:field] + struct.pack("<I", random.choice((0, 1, 10**9, 2**32 - 2, 2**32 - 1))) + data[field + 4 :]


ODD_SHAPES = ("()", "(0,)", "(-1, 17, 3)", "(3, 17, 3)", "(99999999999,)", "(2000000, 17, 3)", "(2**70,)", "x")
ODD_TYPES = ("|O", "<f8", "<f2", ">f4", "<c16", "<U1000000", "|V9", "<M8[s]", "|S99999999", "<i4", "[('a', '|O')]")


def of_npy(data: bytes, random: Random) -> bytes:
    """An array of NumPy whose header claims another shape or type."""
    found = re.search(rb"\{'descr': .*?\}\s*\n", data[:1000], re.DOTALL)
    if found is None:
        return flipped(data, random)
    header = found[0].decode("latin-1")
    if random.random() < 0.5:
        header = re.sub(r"'shape': \(.*?\)", lambda _: f"'shape': {random.choice(ODD_SHAPES)}", header)
    else:
        header = re.sub(r"'descr': '.*?'", lambda _: f"'descr': {random.choice(ODD_TYPES)!r}", header)
    size = len(header).to_bytes(2, "little") if data[6] == 1 else len(header).to_bytes(4, "little")
    return data[:8] + size + header.encode() + data[found.end() :]


# HDF5, through its own library


def of_hdf5(data: bytes, random: Random) -> bytes:
    """Something in an HDF5 file removed or put in its place: a link, another shape or type, a claim of terabytes."""
    content = io.BytesIO(data)
    with h5py.File(content, "r+") as file, np.errstate(all="ignore"):
        names: list[str] = []
        file.visit(names.append)
        holders = [file, *(file[name] for name in names)]
        holder = random.choice([one for one in holders if len(one.attrs)] or holders)
        if len(holder.attrs) and (random.random() < 0.4 or not names):
            name = random.choice(list(holder.attrs))
            _odd_attribute(holder, name, random)
        elif names:
            _odd_item(file, random.choice(names), random)
    return content.getvalue()


def _odd_attribute(holder: Any, name: str, random: Random) -> None:
    del holder.attrs[name]
    if random.random() < 0.8:
        values = (
            "", "x", b"\xff\xfe", "a" * 60_000, 0, -1, 2**63, float("nan"), float("inf"), 1e308, 1e-320, True,
            np.zeros(0), np.zeros((2, 3)), np.array(["a", "b"], object), np.array([0, 0]), np.array([-5, 2**40]),
            np.full(3, np.nan), np.void(b"abc"), h5py.Empty("f8"), "[" * 20_000, '{"a": NaN}',
        )  # fmt: skip
        holder.attrs[name] = random.choice(values)


def _odd_item(file: h5py.File, name: str, random: Random) -> None:
    old = file[name]
    sound = old[()] if isinstance(old, h5py.Dataset) else np.zeros(3)
    shape = sound.shape
    del file[name]
    huge = (2**40, *shape[1:])
    chunks = (1024, *shape[1:])
    makers: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: file.create_group(name),
        lambda: file.__setitem__(name, h5py.SoftLink(name)),
        lambda: file.__setitem__(name, h5py.SoftLink("/nowhere")),
        lambda: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x")),
        lambda: file.__setitem__(name, file),
        lambda: file.create_dataset(name, huge, "f4", chunks=chunks, fillvalue=1.0),
        lambda: file.create_dataset(name, huge, "f4", chunks=chunks, compression="gzip"),
        lambda: file.create_dataset(name, (2**60,), "f8", chunks=(1024,)),
        lambda: file.create_dataset(name, shape, "f8", external=[("/etc/passwd", 0, 10**9)]) if sound.ndim else None,
        lambda: file.create_dataset(name, (0, *shape[1:]), "f4"),
        lambda: file.create_dataset(name, (3,), h5py.string_dtype()),
        lambda: file.create_dataset(name, (3,), h5py.vlen_dtype(np.dtype("f8"))),
        lambda: file.create_dataset(name, (3,), np.dtype([("a", "f4"), ("b", "S3")])),
        lambda: file.create_dataset(name, data=h5py.Empty("f4")),
        lambda: file.create_dataset(name, data=sound.astype(np.complex64)),
        lambda: file.create_dataset(name, data=sound.astype("f8") * np.nan),
        lambda: file.create_dataset(name, data=sound.astype("f8") * 1e300),
        lambda: file.create_dataset(name, data=sound.astype("f2")),
        lambda: file.create_dataset(name, data=np.zeros((5_000, *shape[1:]), "f4"), compression="gzip"),
        lambda: file.create_dataset(name, data=np.full(shape, -1)),
    )
    made = [make for make in makers if sound.dtype.kind in "fiub"] or makers[:16]
    try:
        random.choice(made)()
    except (TypeError, ValueError, RuntimeError, OSError):  # does not go together with this shape: it is missing then
        return


# MATLAB


def of_matlab(data: bytes, random: Random) -> bytes:
    """A variable of a .mat file with other bytes, compressed anew if it was."""
    at, parts = 128, [data[:128]]
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        inside = data[at + 8 : at + 8 + size]
        at += 8 + size
        plain = zlib.decompress(inside) if kind == 15 else struct.pack("<II", kind, size) + inside
        plain = random.choice((flipped, renumbered, renumbered, blanked, cut_off, removed))(plain, random)
        if kind == 15 or random.random() < 0.3:
            plain = zlib.compress(plain)
            plain = struct.pack("<II", 15, len(plain)) + plain
        parts.append(plain)
    return b"".join(parts)


# CDF


def of_cdf(data: bytes, random: Random) -> bytes:
    """A packed part of a CDF file with other bytes in it, where they fit into its place; its checksum fits."""
    start = random.choice([found.start() for found in re.finditer(rb"\x1f\x8b\x08", data)])
    unpacker = zlib.decompressobj(31)
    plain = unpacker.decompress(data[start:])
    room = len(data) - start - len(unpacker.unused_data)
    way = random.choice((flipped, renumbered, renumbered, blanked, removed, doubled, swapped))
    changed = way(plain, random) if random.random() < 0.9 else bytes(random.choice((10**5, 10**7)))
    packed = gzip.compress(changed, 9)
    return data[:start] + packed[:room].ljust(room, b"\0") + data[start + room :]


# Safetensors


def of_safetensors(data: bytes, random: Random) -> bytes:
    """The header with an odd value: in it, or in the text of ours that it carries; its length fits."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if random.random() < 0.6:
        inner = json.loads(header["__metadata__"]["posecli"])
        odd_json(inner, random)
        header["__metadata__"]["posecli"] = json.dumps(inner)
    else:
        odd_json(header, random)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


FORMATS: dict[str, tuple[Way, ...]] = {
    **dict.fromkeys((".mp4", ".mov"), (_of_parts(_boxes, _of_boxes),)),
    **dict.fromkeys((".avi", ".webp"), (_of_parts(_chunks, _of_chunks),)),
    **dict.fromkeys((".mkv", ".webm"), (of_matroska,)),
    ".png": (_of_parts(_png, _of_png),),
    ".jpg": (_of_parts(_jpeg, _of_jpeg),),
    ".json": (of_json,),
    **dict.fromkeys((".bvh", ".asf", ".amc", ".xml", ".toml"), (of_words,)),
    **dict.fromkeys((".npz", ".pt"), (of_archive,)),
    ".h5": (of_hdf5,),
    ".mat": (of_matlab,),
    ".cdf": (of_cdf,),
    ".safetensors": (of_safetensors,),
}

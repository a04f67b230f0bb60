"""Hostile arrays and images: .npy, .npz, pictures."""

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cases import Case, payload
from hostile_tables import check

Write = Callable[[Path], object]
N = 40
MAY = (
    "Fortran order",
    "half precision",
    "truth values",
    "texts",
    "9 axes",
    "an array of 10^7 empty rows",
    "a moving GIF",
    "CMYK",
    "a palette",
    "16 bits of grey",
    "a wrong ending",
    "a link to a folder",
)


def cases(good: Path) -> Iterator[Case]:
    """Yield the cases."""
    for name, file, write in (*_npy(), *_npz()):
        yield _case("an array", name, file, write)
    for name, write in _images():
        yield _case("images", name, "i", partial(_folder, good, write))


def _case(of: str, name: str, file: str, write: Write) -> Case:
    return Case(
        of, name, lambda folder: write(folder / file), partial(check, file), file, name in MAY
    )


def _saved(value: Any) -> Write:
    import numpy as np

    return lambda path: np.save(path, value, allow_pickle=True)


def _header(shape: str, dtype: str = "<f8", order: str = "False") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def raw(content: bytes) -> Write:
    """Return what writes bytes."""
    return lambda path: path.write_bytes(content)


def _npy() -> Iterator[tuple[str, str, Write]]:
    import numpy as np

    draw = np.random.default_rng(0)
    plain = draw.normal(size=(N, 3))
    yield "objects", "m.npy", _saved(np.array([payload()] * N, dtype=object))
    yield "a pickle", "m.npy", raw(pickle.dumps(payload()))
    for shape in ("(1000000000000, 3)", "(-1, 3)", "(40, -3)", "(4611686018427387904, 4)", "()"):
        yield f"a shape of {shape}", "m.npy", raw(_header(shape) + b"\0" * 960)
    yield "a shape of 32 axes", "m.npy", raw(_header(str((1,) * 65)) + b"\0" * 8)
    yield "a shape that is code", "m.npy", raw(_header("__import__('os').getcwd()"))
    yield "a dtype of objects", "m.npy", raw(_header("(40, 3)", "|O") + b"\0" * 960)
    yield "a dtype of 10^9 bytes", "m.npy", raw(_header("(40,)", "|V1000000000"))
    yield "a header of 60 kB", "m.npy", raw(b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535)
    yield "half of it", "m.npy", raw(_header("(40, 3)") + b"\0" * 400)
    yield "nothing", "m.npy", raw(b"")
    yield "noise", "m.npy", raw(os.urandom(5000))
    yield "Fortran order", "m.npy", _saved(np.asfortranarray(plain))
    yield "half precision", "m.npy", _saved(plain.astype(np.float16))
    yield "truth values", "m.npy", _saved(plain > 0)
    yield "complex numbers", "m.npy", _saved(plain.astype(complex))
    yield "texts", "m.npy", _saved(plain.astype(str))
    yield "records", "m.npy", _saved(np.zeros(N, dtype=[("a", "f8"), ("b", "U9")]))
    yield "dates", "m.npy", _saved(np.arange(N).astype("datetime64[D]")[:, None])
    yield "empty rows", "m.npy", _saved(np.zeros((N, 0)))
    yield "an array of 10^7 empty rows", "m.npy", _saved(np.zeros((10**7, 0)))
    yield "no rows", "m.npy", _saved(np.zeros((0, 3)))
    yield "9 axes", "m.npy", _saved(np.zeros((4,) + (1,) * 8))
    yield "infinities", "m.npy", _saved(plain + np.inf)
    yield "the largest numbers", "m.npy", _saved(np.sign(plain) * 1.7e308)


def _npz() -> Iterator[tuple[str, str, Write]]:
    import numpy as np

    def members(own: dict[str, bytes]) -> Write:
        def write(path: Path) -> None:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                for name, content in own.items():
                    file.writestr(name, content)

        return write

    plain = io.BytesIO()
    np.save(plain, np.random.default_rng(0).normal(size=(N, 3)))
    objects = io.BytesIO()
    np.save(objects, np.array([payload()] * N, dtype=object), allow_pickle=True)
    yield "packed objects", "m.npz", members({"x.npy": objects.getvalue()})
    yield "a packed pickle", "m.npz", members({"x.npy": pickle.dumps(payload())})
    yield "packed, no arrays", "m.npz", members({"x.txt": b"a"})
    yield (
        "ids of objects",
        "m.npz",
        members({"x.npy": plain.getvalue(), "ids.npy": objects.getvalue()}),
    )
    yield (
        "members that climb",
        "m.npz",
        members({"../../closed/x.npy": plain.getvalue(), "y.npy": plain.getvalue()}),
    )
    yield "a packed shape of 10^12", "m.npz", members({"x.npy": _header("(1000000000000, 3)")})
    yield "4 GiB of zeros, packed", "m.npz", _bomb
    yield "a packed array of 1.5 GiB", "m.npy.gz", _packed_array
    yield "a zip of zeros", "m.npz", raw(b"PK\x03\x04" + b"\0" * 500)
    yield "an empty zip", "m.npz", members({})


def _bomb(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("x.npy", "w", force_zip64=True) as own,
    ):
        own.write(_header(f"({1 << 27}, 4)"))
        for _ in range(1 << 9):
            own.write(b"\0" * (1 << 23))


def _packed_array(path: Path) -> None:
    import gzip

    member = gzip.compress(b"\0" * (1 << 24))
    path.write_bytes(gzip.compress(_header(f"({3 << 23}, 8)")) + member * 96)


def _folder(good: Path, write: Write, path: Path) -> None:
    """Write three images that are well, and a hostile one."""
    path.mkdir()
    for own in sorted((good / "files" / "i").iterdir())[:3]:
        (path / own.name).write_bytes(own.read_bytes())
    write(path)


def _png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _images() -> Iterator[tuple[str, Write]]:
    import numpy as np
    from PIL import Image

    def named(name: str, content: bytes) -> Write:
        return lambda folder: (folder / name).write_bytes(content)

    def drawn(name: str, mode: str, **options: Any) -> Write:
        return lambda folder: Image.new(mode, (8, 8)).save(folder / name, **options)

    packed = zlib.compress(b"\0" * (3 * 12_000 + 1) * 12_000, 1)
    yield "a bomb of 144 million pixels", named("x.png", _png(12_000, 12_000, packed))
    yield "10^18 pixels", named("x.png", _png(2**31 - 1, 2**31 - 1))
    yield "no pixels", named("x.png", _png(0, 0))
    yield "half of it", named("x.png", _png(8, 8, zlib.compress(b"\0" * 100)[:9]))
    yield "noise", named("x.png", os.urandom(500))
    yield "nothing", named("x.jpg", b"")
    yield "a pickle", named("x.png", pickle.dumps(payload()))
    yield "a drawing with a script", named("x.png", b"<svg onload='alert(1)'/>")
    yield "a PostScript file", named("x.png", b"%!PS-Adobe-3.0 EPSF\n%%BoundingBox: 0 0 9 9\n")
    yield "a wrong ending", lambda folder: Image.new("RGB", (8, 8)).save(folder / "x.png", "JPEG")
    frames = [Image.new("P", (8, 8), i) for i in range(50)]
    yield (
        "a moving GIF",
        lambda folder: frames[0].save(folder / "x.gif", save_all=True, append_images=frames[1:]),
    )
    yield "CMYK", drawn("x.jpg", "CMYK")
    yield "a palette", drawn("x.png", "P")
    yield "16 bits of grey", drawn("x.png", "I;16")
    yield (
        "fractions",
        lambda folder: Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(folder / "x.tiff"),
    )
    yield "a loop of links", lambda folder: (folder / "x.png").symlink_to("x.png")
    yield "a link to a folder", lambda folder: (folder / "x").symlink_to(folder.parent)
    yield "a pipe", lambda folder: os.mkfifo(folder / "x.png")
    yield "one id twice", drawn("s0.jpg", "RGB")

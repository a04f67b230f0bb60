"""Hostile settings and tables: YAML, CSV, Parquet, Arrow."""

import gzip
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cases import MARK, Case, command, payload

ROWS = 40
WIDE = 5_000
Write = Callable[[Path], object]


def check(name: str, folder: Path) -> None:
    """Read a file as a modality, and show what is understood."""
    command("fit", "--modality", f"m={folder / name}", "--check")


def settings(name: str, folder: Path) -> None:
    """Read a file as the settings of a run."""
    command("fit", "--config", folder / name, "--out", folder / "out", "--check")


def named_files(name: str, folder: Path) -> None:
    """Read a file that names others."""
    command("fit", "--data", folder / name, "--check")


def cases(_: Path) -> Iterator[Case]:
    """Yield the cases."""
    for place, (name, content) in enumerate(_yaml()):
        read = settings if place % 2 else named_files
        yield _case(
            "a YAML", name, "data.yaml", partial(_text, content), partial(read, "data.yaml")
        )
    for name, file, write in (*_csv(), *_packed()):
        yield _case("a CSV", name, file, write, may=name in MAY)
    for name, file, write in _arrow():
        yield _case("a Parquet or Arrow file", name, file, write, may=name in MAY)


def _case(
    of: str,
    name: str,
    file: str,
    write: Write,
    call: Callable[[Path], object] | None = None,
    may: bool = False,
) -> Case:
    reads = call or partial(check, file)
    return Case(of, name, lambda folder: write(folder / file), reads, file, may)


MAY = (  # what is right to accept
    "formulas",
    "a byte-order mark of UTF-16",
    f"{WIDE} columns",
    "a column of names like code",
    "rows that end in a delimiter",
    "numbers of 400 digits",
    "a cell of 200 kB",
    "a dictionary of one value",
    "a zip that climbs",  # no member is written to where its name says
)


def _text(content: str | bytes, path: Path) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _yaml() -> Iterator[tuple[str, str | bytes]]:
    levels = "".join(
        f"l{i}: &l{i} [{', '.join([f'*l{i - 1}' if i else 'x'] * 9)}]\n" for i in range(9)
    )
    yield "a bomb of aliases", levels
    yield "aliases as settings", levels
    yield "an alias of itself", "modalities: &a {a: *a}"
    yield "merged keys", "a: &a {path: x}\nmodalities:\n  m:\n    <<: *a\n"
    for name, text in (("deep lists", "[" * 100_000), ("deep mappings", "{a: " * 100_000)):
        yield name, text
        yield f"{name} as settings", f"modalities: {text}"
    deep = "\n".join(" " * i + "a:" for i in range(3000))
    yield "deep blocks", deep
    for tag in ("python/object/apply:os.system", "python/object/new:os.system", "python/name:os.x"):
        yield f"!!{tag}", f'!!{tag} ["touch {MARK}"]'
        yield f"!!{tag} within", f'modalities: {{a: !!{tag} ["touch {MARK}"]}}'
    yield "keys twice", "modalities: {a: x.csv, a: y.csv}"
    yield "keys that are lists", "? [a, b]\n: c"
    yield "a number of 10^5 digits", f"modalities: {{a: x.csv}}\nseed: {'9' * 10**5}"
    yield "a date as a path", "modalities: {a: 2020-01-01}"
    yield "no such date", "modalities: {a: {path: x, id: 2020-02-31}}"
    yield "a seed of 10^30", "modalities: {a: x.csv}\nseed: 1" + "0" * 30
    yield "numbers as names", "modalities: {1: x.csv}"
    yield "numbers as settings", "1: 2"
    yield "bytes", bytes(range(256))
    yield "UTF-16", "modalities: {a: x.csv}".encode("utf-16")
    yield "empty", ""
    yield "null", "~"
    yield "two documents", "a: 1\n---\nb: 2"
    yield "unknown settings", "modalities: {a: x.csv}\nrecipe: {eval: 1}"
    yield "a nan", "modalities: {a: x.csv}\nrecipe: {beta: .nan}"
    yield "an infinity", "modalities: {a: x.csv}\nrecipe: {learning_rate: .inf}"
    yield "a path with a zero", 'modalities: {a: "x\\0.csv"}'
    yield "a path of 10^5 characters", f"modalities: {{a: {'x' * 10**5}}}"
    yield "a binary", "modalities: !!binary AAAA"
    yield "a set", "modalities: !!set {a, b}"


def _csv() -> Iterator[tuple[str, str, Write]]:
    plain = "id,x,y\n" + "".join(f"s{i},{i % 7},{i * 1.5}\n" for i in range(ROWS))

    def text(content: str | bytes) -> Write:
        return partial(_text, content)

    yield "an open quote", "m.csv", text(plain + 's,"1,2\n' + plain)
    yield "a quote in the header", "m.csv", text('"' + plain)
    yield "zero bytes", "m.csv", text(plain.replace("s7", "s\0"))
    yield "zero bytes alone", "m.csv", text(b"\0" * 10_000)
    yield "noise", "m.csv", text(os.urandom(10_000))
    yield "a pickle", "m.csv", lambda path: path.write_bytes(pickle.dumps(payload()))
    yield f"{WIDE} columns", "m.csv", _wide
    yield "one line of 100 MB", "m.csv", text("a" * 100_000_000)
    yield "one line of 100 MB of commas", "m.csv", text("," * 100_000_000)
    yield "a cell of 200 kB", "m.csv", text(plain + f"s,{'9' * 200_000},1\n")
    yield "a wide row", "m.csv", text(plain + "s,1,2,3,4\n")
    yield "a short row", "m.csv", text(plain + "s,1\n")
    yield (
        "a wide row after 6000",
        "m.csv",
        text(plain + "".join(f"t{i},1,2\n" for i in range(6000)) + "u,1,2,3\n"),
    )
    yield (
        "mixed encodings",
        "m.csv",
        text(plain.encode() + "é,1,2\n".encode() + "é,1,2\n".encode("latin-1")),
    )
    yield "UTF-7", "m.csv", text(plain.encode() + b"\x80\x81\xfe\xff,1,2\n")
    yield "a byte-order mark of UTF-16", "m.csv", text(plain.encode("utf-16"))
    yield "half of UTF-16", "m.csv", text(plain.encode("utf-16")[:-1] + b"\xd8")
    yield (
        "formulas",
        "m.csv",
        text("id,f\n" + "".join(f"s{i},=cmd|'/C calc'!A{i % 3}\n" for i in range(ROWS))),
    )
    yield "a column of names like code", "m.csv", text(plain.replace("x", "__import__('os')", 1))
    yield "a name twice", "m.csv", text(plain.replace("y", "x", 1))
    yield "ids twice", "m.csv", text(plain + "s1,2,3\n")
    yield "no ids", "m.csv", text(plain + ",2,3\n")
    yield "numbers of 400 digits", "m.csv", text(plain + f"s,{'9' * 400},3\n")
    yield "infinities", "m.csv", text(plain + "s,inf,3\n")
    yield "empty", "m.csv", text("")
    yield "blanks", "m.csv", text(" \n" * 1000)
    yield "a header alone", "m.csv", text("id,x,y\n")
    yield "a folder", "m.csv", lambda path: path.mkdir()
    yield "a pipe", "m.csv", os.mkfifo
    yield "a loop of links", "m.csv", lambda path: path.symlink_to(path.name)
    yield "a device", "m.csv", lambda path: path.symlink_to("/dev/zero")


def _wide(path: Path) -> None:
    with path.open("w") as file:
        file.write("id," + ",".join(f"c{i}" for i in range(WIDE)) + "\n")
        for row in range(3):
            file.write(f"s{row}," + ",".join(str((i * row) % 7) for i in range(WIDE)) + "\n")


def _packed() -> Iterator[tuple[str, str, Write]]:
    yield "4 GiB of zeros, packed", "m.csv.gz", partial(_bomb, b"\0" * (1 << 20))
    yield "4 GiB of one line, packed", "m.csv.gz", partial(_bomb, b"7" * (1 << 20))
    yield "4 GiB of rows, packed", "m.csv.gz", partial(_bomb, b"s,1,2\n" * (1 << 18))
    yield (
        "a broken archive",
        "m.csv.gz",
        lambda path: path.write_bytes(b"\x1f\x8b" + os.urandom(500)),
    )
    yield "half of an archive", "m.csv.gz", _half
    yield "no archive", "m.csv.xz", lambda path: path.write_bytes(b"id,x\na,1\n")
    yield "a zip of several", "m.csv.zip", partial(packed, {"a.csv": b"id,x\na,1\n", "b.csv": b""})
    yield "a zip of none", "m.csv.zip", partial(packed, {})
    yield (
        "a zip that climbs",
        "m.csv.zip",
        partial(packed, {"../../closed/x.csv": b"id,x\na,1\nb,2\n"}),
    )
    yield "4 GiB in a zip", "m.csv.zip", _zip_bomb


def _bomb(block: bytes, path: Path) -> None:
    """Write 4 GiB, packed; the blocks are packed one by one, which archives may be."""
    member = gzip.compress(block * 16)
    with path.open("wb") as file:
        file.write(gzip.compress(b"id,x,y\n"))
        for _ in range((1 << 32) // (16 * len(block))):
            file.write(member)


def _half(path: Path) -> None:
    path.write_bytes(gzip.compress(b"id,x,y\n" + os.urandom(5000))[:3000])


def packed(members: dict[str, bytes], path: Path) -> None:
    """Write a zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def _zip_bomb(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("m.csv", "w", force_zip64=True) as own,
    ):
        own.write(b"id,x\n")
        for _ in range(1 << 9):
            own.write(b"s,1111\n" * (1 << 20))


def _arrow() -> Iterator[tuple[str, str, Write]]:
    for suffix in ("parquet", "feather", "arrow"):
        yield f"noise, {suffix}", f"m.{suffix}", lambda path: path.write_bytes(os.urandom(5000))
        yield f"empty, {suffix}", f"m.{suffix}", lambda path: path.write_bytes(b"")
        yield f"half, {suffix}", f"m.{suffix}", partial(_changed, lambda own: own[: len(own) // 2])
        yield f"flipped, {suffix}", f"m.{suffix}", partial(_changed, _flipped)
    yield (
        "marks alone",
        "m.parquet",
        lambda path: path.write_bytes(b"PAR1" + b"\xff" * 20 + b"PAR1"),
    )
    yield (
        "a footer of 2 GiB",
        "m.parquet",
        partial(_changed, lambda own: own[:-8] + b"\xff\xff\xff\x7fPAR1"),
    )
    yield "lists in cells", "m.parquet", partial(_table, lambda i: [i, i])
    yield "mappings in cells", "m.parquet", partial(_table, lambda i: {"a": i})
    yield "bytes in cells", "m.parquet", partial(_table, lambda i: bytes([i]))
    yield "a dictionary of one value", "m.parquet", partial(_table, lambda i: "x" if i % 2 else "y")
    yield "10^9 rows in a few kB", "m.parquet", _many_rows
    yield (
        "pandas' words lie",
        "m.parquet",
        partial(_metadata, b'{"index_columns": [5], "columns": 3}'),
    )
    yield "pandas' words are none", "m.parquet", partial(_metadata, b"\xff{")
    index = b'{"index_columns": [{"kind": "range", "start": 0, "stop": 1000000000000, "step": 7}]}'
    yield "an index of 10^12", "m.parquet", partial(_metadata, index)
    yield (
        "an index without a step",
        "m.parquet",
        partial(_metadata, b'{"index_columns": [{"kind": "range"}], "columns": []}'),
    )


def _changed(change: Callable[[bytes], bytes], path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"id": [f"s{i}" for i in range(ROWS)], "x": range(ROWS), "y": 1.5})
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_feather(path)
    path.write_bytes(change(path.read_bytes()))


def _flipped(own: bytes) -> bytes:
    """Return bytes of which every 97th is another one, but for the marks at the ends."""
    return bytes(
        b ^ 255 if 12 < i < len(own) - 12 and i % 97 == 0 else b for i, b in enumerate(own)
    )


def _table(cell: Callable[[int], object], path: Path) -> None:
    import pandas as pd

    cells = [cell(i) for i in range(ROWS)]
    pd.DataFrame({"id": [f"s{i}" for i in range(ROWS)], "x": cells}).to_parquet(path, index=False)


def _many_rows(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    part = pyarrow.table({"id": pyarrow.array([7] * 10**7), "x": pyarrow.array([1.5] * 10**7)})
    with parquet.ParquetWriter(path, part.schema) as writer:
        for _ in range(20):
            writer.write_table(part, row_group_size=10**7)


def _metadata(words: bytes, path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"id": [f"s{i}" for i in range(ROWS)], "x": list(range(ROWS))})
    parquet.write_table(table.replace_schema_metadata({b"pandas": words}), path)

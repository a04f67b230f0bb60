"""Hostile .xlsx files."""

import os
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from cases import Case
from hostile_tables import Write, check, packed

FILE = "m.xlsx"


def cases(_: Path) -> Iterator[Case]:
    """Yield the cases."""
    for name, write in _excel():
        yield Case("an .xlsx", name, partial(_written, write), partial(check, FILE), FILE)


def _written(write: Write, folder: Path) -> None:
    write(folder / FILE)


def _excel() -> Iterator[tuple[str, Write]]:
    yield "noise", lambda path: path.write_bytes(os.urandom(5000))
    yield "an empty zip", partial(packed, {})
    yield "4 GiB in its sheet", _sheet_bomb
    entity = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    yield "an external entity", partial(_sheet, entity, "&e;")
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(10))
    yield "entities of entities", partial(_sheet, f"<!DOCTYPE x [{laughs}]>", "&l9;")
    yield "a size that lies", partial(_sheet, "", "x", size="A1:XFD1048576")


_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType='
    '"application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-'
    'officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/s.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>'
)
_URL = "http://schemas.openxmlformats.org"
_RELATED = f'<Relationships xmlns="{_URL}/package/2006/relationships">{{}}</Relationships>'
_PLACE = (
    f'<Relationship Id="r1" Target="{{}}" Type="{_URL}/officeDocument/2006/relationships/{{}}"/>'
)
_BOOK = (
    '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
    '<sheets><sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>'
)


def _sheet(head: str, cell: str, path: Path, size: str = "A1:B2") -> None:
    """Write a book of one sheet, whose XML begins with ``head`` and holds one cell."""

    sheet = (
        f'<?xml version="1.0"?>{head}<worksheet xmlns="http://schemas.openxmlformats.org/'
        f'spreadsheetml/2006/main"><dimension ref="{size}"/><sheetData><row r="1"><c r="A1" '
        f't="inlineStr"><is><t>{cell}</t></is></c></row></sheetData></worksheet>'
    )
    packed(_parts() | {"xl/s.xml": sheet.encode()}, path)


def _parts() -> dict[str, bytes]:
    """Return the parts of a book, all but its sheet."""
    texts = {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": _RELATED.format(_PLACE.format("xl/workbook.xml", "officeDocument")),
        "xl/workbook.xml": _BOOK,
        "xl/_rels/workbook.xml.rels": _RELATED.format(_PLACE.format("s.xml", "worksheet")),
    }
    return {name: text.encode() for name, text in texts.items()}


def _sheet_bomb(path: Path) -> None:
    packed(_parts(), path)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("xl/s.xml", "w", force_zip64=True) as own,
    ):
        own.write(b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">')
        own.write(b"<sheetData>")
        for _ in range(1 << 9):
            own.write(b"<row><c><v>7</v></c></row>" * (1 << 18))
        own.write(b"</sheetData></worksheet>")

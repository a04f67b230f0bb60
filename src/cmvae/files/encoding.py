"""Texts in files: unpacked, and in the encoding that their bytes show."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cmvae.base.unpacking import bounded
from cmvae.files.source import ReadingError

UNPACKING_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)

_BLOCK = 1 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_OTHERS = ("cp1252", "iso-8859-15", "cp1250", "cp1251", "mac_roman", "shift_jis", "gb18030")
# What Western European text does not hold, but text of other encodings shows where it is read as
# such: letters in long rows, signs before or within words, capitals after small letters.
_STRANGE = re.compile(
    r"[À-ÖØ-öø-ÿ]{3}|[ÂÃ][\u00a0-¿]|[¤¦¬¯´¸¨×÷]|[£¥²³¹¼½¾±][^\W\d_]|[ƒˆ˜]"
    r"|(?<=[a-zß-ÿ])[ŠŽŸŒ]|(?<=[^\W\d_])[‚„†‡‰‹•›”“…][^\W\d_]|(?<!\w)[‚„](?=[a-z])"
)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, unpacked where its ending says that it is packed.

    Raises:
        BadZipFile: For a .zip of several files.
        ValueError: For one that holds too many times its own size, once so much is read.
    """
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            every = (name for name in archive.namelist() if not name.endswith("/"))
            # The archives of macOS hold another file for each, which tells its icon.
            members = [name for name in every if not name.startswith("__MACOSX/")]
            if len(members) != 1:
                raise zipfile.BadZipFile(f"it holds {len(members)} files, expected one: unpack it")
            with archive.open(members[0]) as file, bounded(file, path) as counted:
                yield counted
        return
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        with path.open("rb") as file:
            yield file
        return
    with opener(path, "rb") as file, bounded(file, path) as counted:
        yield counted


@contextmanager
def opened_text(path: Path, encoding: str) -> Iterator[io.TextIOWrapper]:
    """Open a file for reading text, its line ends as they are."""
    with opened(path) as file, io.TextIOWrapper(file, encoding=encoding, newline="") as text:
        yield text


def find_encoding(path: Path, modality: str, given: str | None = None) -> str:
    """Return the encoding of a text: by its mark, by its bytes, or the one given.

    What is neither UTF-8 nor UTF-16 is taken for Western European (cp1252, which includes latin-1)
    where it reads like that throughout. All of the file is looked at, a part at a time.

    Raises:
        ReadingError: For a text that may be in several encodings, or is not in the one given.
        ValueError: For one given that there is not.
    """
    where = f"modality {modality!r}, {path}"
    if given is not None:
        try:
            codecs.lookup(given)
        except LookupError:
            raise ValueError(
                f"{where}: unknown encoding {given!r}; usual ones are {', '.join(_OTHERS)}"
            ) from None
        return given
    with opened(path) as file:
        head = file.read(4096)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if wide := _without_mark(head):
        return wide
    if b"\0" in head:
        raise ReadingError(
            f"{where}: there are zero bytes in it, which no text has but UTF-16 and UTF-32: say "
            "which encoding it has",
            modality,
            ["encoding=utf-16-le", "encoding=utf-16-be"],
        )
    failed = _first_failure(path, "utf-8")
    if failed is None:
        return "utf-8"
    byte, context = failed
    if _reads_western(path):
        return "cp1252"
    raise ReadingError(
        f"{where}: the text is not UTF-8 (byte 0x{byte:02x} in {context!r}), and not surely "
        f"Western European either: say which encoding it has (usual ones are {', '.join(_OTHERS)})",
        modality,
        ["encoding=cp1252"],
    )


def _without_mark(head: bytes) -> str | None:
    """Tell UTF-16 without a mark by the zeros in every second byte.

    The others are zero in few letters, such as Ā.
    """
    even, odd = (part.count(0) / max(1, len(part)) for part in (head[::2], head[1::2]))
    if odd > 0.4 and even < 0.4 * odd:
        return "utf-16-le"
    if even > 0.4 and odd < 0.4 * even:
        return "utf-16-be"
    return None


def _first_failure(path: Path, encoding: str) -> tuple[int, str] | None:
    """Return the first byte that is not of an encoding, and what is around it; None: all are."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with opened(path) as file:
        while True:
            block = file.read(_BLOCK)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                bad, at = error.object, error.start
                around = bytes(bad[max(0, at - 12) : at + 12]).decode("ascii", "replace")
                return bad[at], around
            if not block:
                return None


def _reads_western(path: Path) -> bool:
    with opened(path) as file:
        while block := file.read(_BLOCK):
            try:
                text = block.decode("cp1252")
            except UnicodeDecodeError:
                return False
            if not text.isascii() and _STRANGE.search(text):
                return False
    return True

"""A hostile file or folder, what reads it, and what was wrong with how that went."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bounded import MEMORY, SECONDS, Trial, watched

SECRET = "secret-7f3a91"  # in files that nothing is to read
MARK = "executed"  # the file that a payload would leave
LINES, CHARACTERS = 4, 1500  # of an error, at most
SPARE = 300 << 20  # bytes beyond twice the size of what is read

# Words of libraries, which tell a reader nothing.
_INNER = re.compile(
    r"pydantic|numpy|pandas|sklearn|torch\.|pyarrow|h5py|HDF5|openpyxl|np\.|pd\.|PIL\.|errno"
    r"|object at 0x|NoneType|ndarray|'(list|dict|str|int|float|tuple)' object|unhashable"
    r"|not (iterable|subscriptable|callable)|to unpack|indices must|has no attribute"
    r"|object of type|unsupported operand|out of bounds for|not supported between"
    r"|for url|state_dict|RecursionError|broadcast|__\w+__|invalid literal|could not convert"
    r"|codec can't|unexpected keyword|positional argument|ArrowInvalid|SafetensorError"
    r"|division by zero|mat1|size mismatch|Unable to (synchronously|allocate)|OSError"
)


@dataclass(frozen=True)
class Case:
    """A hostile file or folder.

    Attributes:
        of: What kind of file it is.
        name: What is hostile about it.
        make: Writes it into an empty folder.
        call: Reads it there.
        named: What an error must say.
        may: Whether it may be accepted.
    """

    of: str
    name: str
    make: Callable[[Path], object]
    call: Callable[[Path], object]
    named: str
    may: bool = False


def command(*arguments: object) -> None:
    """Run the command line in this process, and exit where it fails."""
    from cmvae.cli import main

    sys.argv = ["cmvae", *map(str, arguments)]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise


def told(call: Callable[[], object]) -> None:
    """Call a member of the library, and print what it refuses as the command line does."""
    try:
        call()
    except (ValueError, TypeError, KeyError) as error:
        sys.stderr.write(f"Error: {error.args[0] if error.args else ''}\n")
        sys.exit(2)


def payload() -> object:
    """Return an object whose pickle leaves the mark where it is read."""
    return _Payload()


class _Payload:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {MARK}",)


def fault_of(case: Case, folder: Path, closed: Path) -> str:
    """Try a case in a folder; return what was wrong, or nothing."""
    made = watched(lambda: case.make(folder), folder, closed, seconds=60)
    if made.status:
        return f"the case was not made: {made.said.strip()[-300:]}"
    size = _size(folder)
    trial = watched(lambda: case.call(folder), folder, closed)
    faults = [*_seen(trial, size), *_heard(case, trial)]
    if (folder / MARK).exists():
        faults.append("it was executed")
    return "; ".join(faults)


def _size(folder: Path) -> int:
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file() and p.name != ".said")


def _seen(trial: Trial, size: int) -> list[str]:
    """Return what was wrong with what a process did."""
    faults = [f"it did {line}" for line in trial.done[:3]]
    if trial.seconds > SECONDS:
        faults.append(f"{trial.seconds:.0f} s")
    elif trial.status < 0:
        faults.append(f"killed by signal {-trial.status}")
    if trial.memory > 2 * size + SPARE:
        faults.append(f"{trial.memory >> 20} MiB for a file of {size >> 10} KiB")
    if "MemoryError" in trial.said:
        faults.append(f"it asked for more than {MEMORY >> 30} GiB")
    return faults


def _heard(case: Case, trial: Trial) -> list[str]:
    """Return what was wrong with what a process said."""
    said = trial.said.strip()
    if "Traceback (most recent call last)" in said:
        return [f"a traceback: {said.splitlines()[-1][:200]}"]
    if SECRET in said:
        return ["it told what another file holds"]
    if trial.status == 0:
        return [] if case.may else [f"accepted: {said[-200:]!r}"]
    if trial.status < 0:
        return []
    shown = said[said.find("Error: ") :] if "Error: " in said else ""
    faults = [] if shown.removeprefix("Error: ").strip() else [f"no message: {said[-200:]!r}"]
    if shown.count("\n") >= LINES or len(shown) > CHARACTERS:
        faults.append(f"{shown.count(chr(10)) + 1} lines, {len(shown)} characters: {shown[:120]!r}")
    if case.named not in shown:
        faults.append(f"{case.named} is not named: {shown[:300]!r}")
    if found := _INNER.search(shown):
        faults.append(f"inner words ({found[0]}): {shown[:300]!r}")
    return faults

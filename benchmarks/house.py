"""The house in figures: rooms, floors, lines, and the files that a table crosses on its way.

    python benchmarks/house.py

A room is a file or a folder of the package; a floor is above all rooms that it imports. A file is
crossed where a function of it runs.
"""

import ast
import json
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "cmvae"

CROSSED = """
import json, sys, threading
crossed = set()
def note(frame, event, argument):
    code = frame.f_code
    # Bodies of modules and classes run when a file is loaded, not when it is used.
    if event == "call" and code.co_flags & 1 and "/src/cmvae/" in code.co_filename:
        crossed.add(code.co_filename.split("/src/cmvae/")[1])
sys.setprofile(note)
threading.setprofile(note)
try:
    PROGRAM
finally:
    sys.setprofile(None)
    print("\\n" + json.dumps(sorted(crossed)))
"""
COMMAND = "import sys; sys.argv = {}; from cmvae.cli import main; main()"
ESTIMATOR = "from cmvae import CMVAEClusterer; import numpy as np; rng = np.random.default_rng(0); "
ESTIMATOR += "groups = np.arange(120) % 3; "
ESTIMATOR += "X = {n: rng.normal(size=(120, 4)) + 6 * np.eye(3, 4)[groups] for n in 'ab'}; "
ESTIMATOR += "CMVAEClusterer(max_epochs=3, random_state=0).fit(X)"


def room_of(path: Path) -> str:
    """Return the room of a file of the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms() -> dict[str, set[str]]:
    """Return rooms with those that they import."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.parent == PACKAGE and path.name.startswith("_"):
            continue
        known = found.setdefault(room_of(path), set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cmvae."):
                known.add((node.module or "").split(".")[1])
        known -= {room_of(path), "_version"}
    return found


def floors(known: dict[str, set[str]]) -> int:
    """Return the number of floors; rooms that know each other are on one."""

    def floor(room: str, way: tuple[str, ...]) -> int:
        others = [other for other in known.get(room, ()) if other not in way]
        return 1 + max((floor(other, (*way, room)) for other in others), default=0)

    return max(floor(room, ()) for room in known)


def crossed(program: str) -> int:
    """Return the number of files that a program crosses."""
    code = CROSSED.replace("PROGRAM", program)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return len(json.loads(done.stdout.splitlines()[-1]))


def crossings() -> dict[str, int]:
    """Return the number of files that each door's way crosses."""
    import numpy as np
    import pandas as pd

    rng, found = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name in "ab":
            values = rng.normal(size=(120, 4)) + 6 * np.eye(3, 4)[np.arange(120) % 3]
            frame = pd.DataFrame(values, [f"s{i}" for i in range(120)], list("pqrs"))
            frame.to_csv(f"{folder}/{name}.csv", index_label="id")
            files += ["--modality", f"{name}={folder}/{name}.csv"]
        run = f"{folder}/run"
        fit = ["cmvae", "fit", *files, "--out", run, "--epochs", "3"]
        found["cmvae fit a.csv b.csv"] = crossed(COMMAND.format(fit))
        found["CMVAEClusterer.fit"] = crossed(ESTIMATOR)
        found["cmvae report"] = crossed(COMMAND.format(["cmvae", "report", run]))
    return found


def public_names() -> tuple[int, int]:
    """Return the names that packages hand on, and the public classes and functions of modules."""
    handed, defined = 0, 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                defined += not node.name.startswith("_")
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if path.name == "__init__.py" and getattr(target, "id", "") == "__all__":
                package = "cmvae." + path.parent.name if path.parent != PACKAGE else "cmvae"
                handed += len(import_module(package).__all__)
    return handed, defined


def main() -> None:
    """Print the figures."""
    known = rooms()
    lines = [
        line
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    handed, defined = public_names()
    figures = {
        "rooms": len(known),
        "floors": floors(known),
        "files": len(list(PACKAGE.rglob("*.py"))),
        "lines": len(lines),
        "lines over 100 columns": sum(len(line) > 100 for line in lines),
        "names that packages hand on": handed,
        "public classes and functions": defined,
        **{f"files crossed by {way}": n for way, n in crossings().items()},
    }
    for name, value in figures.items():
        print(f"{name:45} {value}")


if __name__ == "__main__":
    main()

"""How the house is built: rooms, which of them know which, and words in their rooms."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cmvae"

# From the ground up: a room knows those before it.
ROOMS = (
    *("_version", "base", "likelihoods", "networks", "data", "datasets", "files", "models"),
    *("preprocessing", "clusters", "metrics", "multivae", "training", "diffusion", "omics"),
    *("cells", "runs", "ray", "report", "estimator", "cli", "__main__"),
)


def modules():
    """Return the modules of the package by name, with their trees."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imported(name, *, at_start=False):
    """Return the modules of the package that one imports, wherever it does, types included.

    With ``at_start`` those alone that are loaded with it.
    """
    found, tree = set(), MODULES[name]
    nodes = ast.walk(tree) if not at_start else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cmvae":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Homes of names that are looked up late.
            found |= {node.value} & (set(MODULES) - {"cmvae"}) if name != "cmvae" else set()
    return found - {name}


def room(name):
    return name.split(".")[1] if "." in name else ""


def test_there_are_few_rooms_and_each_is_known():
    rooms = {room(name) for name in MODULES} - {""}
    assert rooms == set(ROOMS)
    assert len(rooms) <= 22


@pytest.mark.parametrize("name", [name for name in MODULES if name != "cmvae"])
def test_imports_point_one_way(name):
    own = ROOMS.index(room(name))
    upward = {other for other in imported(name) if room(other) not in ROOMS[: own + 1]}
    assert not upward


def test_no_modules_know_each_other():
    known = {name: imported(name, at_start=True) for name in MODULES}
    done = set()

    def visit(name, way):
        assert name not in way, [*way[way.index(name) :], name]
        if name not in done:
            for other in known[name]:
                if not name.startswith(f"{other}."):  # a package's face hands its modules on
                    visit(other, [*way, name])
            done.add(name)

    for name in MODULES:
        visit(name, [])


def test_option_names_and_printing_are_the_command_line_s():
    for name, tree in MODULES.items():
        if room(name) == "cli":
            continue
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                is_text = id(node) in docs
                options = re.findall(r"(?<![\w-])--[a-z][\w-]*", node.value)
                assert is_text or not options, f"{name}: {options}"


def test_private_names_stay_in_their_module():
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cmvae"):
                private = [a.name for a in node.names if re.match(r"_[a-z]", a.name)]
                assert not private or node.module == "cmvae", f"{name}: {private}"
    for path in [*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cmvae"):
                private = [a.name for a in node.names if a.name.startswith("_")]
                assert not private, f"{path.name}: {private}"


def test_files_are_short_and_lines_fit():
    for path in PACKAGE.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert max(map(len, lines), default=0) <= 100, path

"""What is built is whole, and works where nothing but its dependencies is installed."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import cmvae

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cmvae"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Extras of which the newest versions are taken: for who builds the site or works on the package,
# and what the package itself never imports.
NEW = {"dev", "docs", "scanpy"}


def run(*command, folder):
    """Run a program from a folder, without what the environment would add to Python's path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    kept["OMP_NUM_THREADS"] = "1"  # tests run side by side
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=kept, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the source archive, and the wheel from it, as ``make dist`` does."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    return folder


def dependencies(requirements):
    """Return the installed distributions that requirements lead to, however far, by name."""
    found, waiting = {}, [*map(Requirement, requirements)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        extras = ["", *sorted(wanted.extras)]
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        if (name, tuple(extras)) in found:
            continue
        found[name, tuple(extras)] = distribution(name)
        for line in found[name, tuple(extras)].requires or []:
            further = Requirement(line)
            if further.marker is None:
                waiting.append(further)
            elif any(further.marker.evaluate({"extra": extra}) for extra in extras):
                further.marker = None
                waiting.append(further)
    return {name: one for (name, _), one in found.items()}


def empty_environment(folder, requirements):
    """Make an environment that holds requirements and what they need, linked from this one."""
    run(sys.executable, "-m", "venv", folder, folder=folder.parent)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    for one in dependencies(requirements).values():
        for first in {file.parts[0] for file in one.files} - {"..", "__pycache__"}:
            link, target = packages / first, Path(one.locate_file(first))
            if not link.exists() and target.exists():
                link.symlink_to(target)
    return folder / "bin"


def test_the_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    files = set(zipfile.ZipFile(wheel).namelist())
    info = f"cmvae-{cmvae.__version__}.dist-info"
    packed = {name.removeprefix("cmvae/") for name in files if not name.startswith(info)}
    there = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == there
    assert {"py.typed", "datasets/mfeat.npz", "report/assets/page.html"} <= packed
    for licence in PROJECT["license-files"]:
        assert f"{info}/licenses/{licence}" in files


def test_the_source_archive_can_be_tested(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        files = {name.partition("/")[2] for name in content.getnames()}
    assert {
        "CITATION.cff",
        "SECURITY.md",
        "Makefile",
        "constraints.txt",
        "tests/conftest.py",
    } <= files
    assert not {name for name in files if name.startswith((".venv", "build/", "runs/", "dist/"))}


def test_the_wheel_runs_in_an_empty_environment(built, tmp_path):
    """Install it where there is nothing but its dependencies, and run the demonstration elsewhere.

    The dependencies are linked from the present environment, because to fetch PyTorch again takes
    longer than all of this; pip checks that they are all that the wheel asks for. The package
    itself, and what only extras or development need, are not there.
    """
    (wheel,) = built.glob("*.whl")
    programs = empty_environment(tmp_path / "environment", PROJECT["dependencies"])
    run(programs / "python", "-m", "pip", "install", "--no-index", wheel, folder=tmp_path)
    where = run(
        programs / "python",
        "-c",
        "import cmvae, importlib.util as i; print(cmvae.__file__, i.find_spec('pytest'))",
        folder=tmp_path,
    ).split()
    assert where[0].startswith(str(tmp_path))
    assert where[1] == "None"
    told = run(
        *(programs / "cmvae", "demo", "--epochs", 2, "--warmup-epochs", 1, "--out", "demo"),
        folder=tmp_path,
    )
    assert "clusters found" in told
    assert (tmp_path / "demo" / "model" / "model.safetensors").is_file()


def test_the_oldest_dependencies_are_those_that_are_allowed():
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    tried = {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in (Requirement(line) for line in lines if not line.startswith("#"))
    }
    extras = PROJECT["optional-dependencies"]
    allowed = {
        canonicalize_name(one.name): str(one.specifier).removeprefix(">=")
        for group in (PROJECT["dependencies"], *(extras[name] for name in extras.keys() - NEW))
        for one in map(Requirement, group)
    }
    del tried["torch"], allowed["torch"]  # see the file's head
    assert tried.keys() == allowed.keys()
    assert {name: Version(tried[name]) for name in tried} == {
        name: Version(allowed[name]) for name in allowed
    }

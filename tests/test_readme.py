import re
from pathlib import Path

import pytest

from made_files import write_files
from pages import INSTALLATION, read_blocks, run_page

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
SHORTENED = {
    r"CMVAEClusterer\(random_state=0\)": "CMVAEClusterer(3, max_epochs=1, random_state=0)",
    r"--out runs/mine": "--epochs 2 --out runs/mine",
}


def test_it_is_short():
    assert len(TEXT.splitlines()) < 100


@pytest.mark.filterwarnings("ignore")
def test_the_code_runs(tmp_path, monkeypatch):
    write_files(tmp_path)
    (tmp_path / "a.csv").rename(tmp_path / "rna.csv")
    (tmp_path / "new.csv").write_bytes((tmp_path / "rna.csv").read_bytes())
    (tmp_path / "img").rename(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    names = run_page(README, SHORTENED)
    assert names["clusters"].shape == (5,)
    assert names["rows"]["pix"].shape == (5, 240)
    assert {path.name for path in (tmp_path / "runs" / "digits" / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
    }
    assert (tmp_path / "clusters.csv").is_file()


def test_every_make_target_and_file_named_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = [
        line
        for block in read_blocks(TEXT)
        if block.title == INSTALLATION
        for line in block.code.splitlines()
    ]
    assert named
    for line in named:
        target = re.match(r"make ([\w-]+)", line)[1]
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", TEXT):
        assert (ROOT / path).exists(), path


def test_the_plan_of_the_house_names_what_is_there():
    text = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")
    plan = text[text.index("src/cmvae/\n") : text.index("\ntests/ ")]
    named = [
        name
        for line in plan.splitlines()[1:]
        for name in re.findall(r"\w+(?:\.py|/)", line.strip().split("  ")[0])
    ]
    package = ROOT / "src" / "cmvae"
    there = {path.name for path in package.glob("*.py")} | {
        f"{path.name}/"
        for path in package.iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    assert sorted(named) == sorted(there - {"__init__.py", "_version.py"})

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
    code, replaced = re.subn(r"max_epochs=\d+, warmup_epochs=\d+", "max_epochs=2, warmup_epochs=1", code)
    assert replaced == 1
    code, replaced = re.subn(r"CMVAEClusterer\(random_state=0\)", "CMVAEClusterer(max_epochs=2, random_state=0)", code)
    assert replaced == 1
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["clusters"].shape == (2000,)
    assert names["images"].shape == (5, 1, 240)
    assert bool(names["output"].loss.isfinite())
    assert {path.name for path in (tmp_path / "digits").iterdir()} == {"config.json", "model.safetensors"}


def test_every_make_target_and_file_named_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"\]\((?!http)([^)]+)\)", TEXT):
        assert (ROOT / path).exists(), path


def test_the_plan_of_the_house_names_what_is_there():
    plan = TEXT[TEXT.index("src/cmvae/\n") : TEXT.index("tests/  ")]
    named = {name for line in plan.splitlines()[1:] for name in re.findall(r"[\w]+(?:\.py|/)", line[:24])}
    package = ROOT / "src" / "cmvae"
    there = {path.name for path in package.glob("*.py")} | {
        f"{path.name}/" for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert named == there - {"__init__.py", "models.py"}

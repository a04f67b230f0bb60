import pytest

from cmvae.files.modality import ModalityFile
from cmvae.runs.config import RunConfig


def test_config_survives_yaml(tmp_path):
    config = RunConfig.make(
        {
            "modalities": {
                "a": str(tmp_path / "a.csv"),
                "b": {
                    "path": str(tmp_path / "b"),
                    "kinds": {"x": "count"},
                    "size": [3, 4],
                    "likelihood": "laplace",
                },
            },
            "seed": 4,
            "recipe": {"n_clusters": 3, "hidden_dims": [32, 16], "scale": 0.5},
        }
    )
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert RunConfig.read(tmp_path / "config.yaml") == config
    assert config.modalities["b"].size == (3, 4)
    assert config.recipe.hidden_dims == (32, 16)
    linear = config.replace(recipe=config.recipe.replace(hidden_dims=()))
    (tmp_path / "linear.yaml").write_text(linear.to_yaml())
    assert RunConfig.read(tmp_path / "linear.yaml").recipe.hidden_dims == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modalities": {}}, "modalities"),
        ({"modalities": {"a": {"file": "x"}}}, r"unknown arguments \['file'\]"),
        ({"seed": -1}, "seed"),
        ({"seed": "many"}, "seed"),
        ({"seed": False}, "seed must be an integer from 0, got False"),  # seed: no, in YAML
        ({"colour": 1}, r"unknown arguments \['colour'\]"),
        (
            {"recipe": {"latent_dim": "big"}},
            "recipe.latent_dim must be a positive integer, got 'big'",
        ),
        ({"recipe": {"start": "random"}}, "recipe.start must be 'auto', 'consensus', 'spectral'"),
        ({"modalities": {"a": {"path": "x", "size": [3]}}}, "modalities.a.size"),
        ({"modalities": "a.csv"}, "modalities must be a mapping, got 'a.csv'"),
    ],
)
def test_bad_configs_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        RunConfig.make({"modalities": {"a": "x.csv"}, **change})
    assert isinstance(RunConfig.make({"modalities": {"a": "x.csv"}}).modalities["a"], ModalityFile)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2\n", r"config.yaml: not YAML: keys \['seed'\] occur more than once"),
        ("modalities: {a: x.csv, b: y.csv, a: z.csv}\n", r"keys \['a'\] occur more than once"),
        ("seed: [1\n", "config.yaml: not YAML: "),
    ],
)
def test_files_that_are_no_yaml_or_say_something_twice_are_refused(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        RunConfig.read(tmp_path / "config.yaml")

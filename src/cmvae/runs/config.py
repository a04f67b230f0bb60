"""What a run is made from: modalities, settings and seed, to and from YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field

from cmvae.base.settings import Name, Settings
from cmvae.files.modality import ModalityFile
from cmvae.training.recipe import Recipe


class RunConfig(Settings):
    """Everything that a run is repeated from.

    Attributes:
        modalities: Name to file.
        seed: Seed of the weights, of training and of the clusters' start: scikit-learn's
            ``random_state``.
        device: Lightning's ``accelerator``.
        recipe: Settings of model and training.

    Example:
        >>> config = RunConfig.make({"modalities": {"rna": "rna.csv"}, "recipe": {"n_clusters": 3}})
        >>> config.modalities["rna"].path, config.recipe.latent_dim
        ('rna.csv', 24)
    """

    modalities: Annotated[dict[Name, ModalityFile], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: str = "auto"
    recipe: Recipe = Field(default_factory=Recipe)

    @classmethod
    def make(cls, content: Any, what: str = "config") -> Self:
        """Validate what a YAML file holds; a modality may be a path alone.

        Raises:
            ValueError: Naming each field that is wrong, what was got and what is allowed.
        """
        if isinstance(content, Mapping) and isinstance(content.get("modalities"), Mapping):
            files = {
                name: {"path": file} if isinstance(file, str) else file
                for name, file in content["modalities"].items()
            }
            content = {**content, "modalities": files}
        return cls.from_plain(content, what)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML file; relative paths in it are taken from its folder.

        Raises:
            ValueError: If it is missing or holds something else.
        """
        config = cls.make(read_yaml(path), str(path))
        files = {name: file.resolved(path.parent) for name, file in config.modalities.items()}
        return config.replace(modalities=files)

    def to_yaml(self) -> str:
        """Return the settings as YAML; those of a modality that were left open are left out."""
        content = self.to_plain()
        content["modalities"] = {
            name: file.model_dump(mode="json", exclude_defaults=True)
            for name, file in self.modalities.items()
        }
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses keys that repeat, of which the last would be taken."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.YAMLError(f"keys {repeated} occur more than once")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ValueError: If it is missing or no YAML, or keys in it repeat.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except yaml.MarkedYAMLError as error:
        place = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ValueError(f"{path}: not YAML: {place}{error.problem or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {error}") from error

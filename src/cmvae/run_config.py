"""What a run is made from: files, their kinds, settings and seed, to and from YAML."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from cmvae.likelihoods import LIKELIHOODS
from cmvae.networks import check_network
from cmvae.recipe import Recipe

__all__ = ["ModalityFile", "RunConfig", "read_data_yaml"]

Positive = Annotated[int, Field(gt=0)]


def _known_likelihood(value: object) -> object:
    if value is not None and value not in LIKELIHOODS:
        raise ValueError(f"must be one of {', '.join(map(repr, LIKELIHOODS))}")
    return value


def _known_network(value: object) -> object:
    if isinstance(value, str):
        check_network(value)
    return value


class ModalityFile(BaseModel):
    """Where a modality is and how it is read.

    Attributes:
        path: A table, an array, a folder of images, or an .h5mu file.
        id: The id column of a table; None: a Parquet file's stored index, else the first column.
        array: The array's name in an .npz, or the modality's in an .h5mu; None: the only array, the same name.
        layer: The layer of an .h5mu's modality; None: ``X``.
        ids: A text file with the ids of an array, one a line.
        kinds: Column of a table to 'continuous', 'binary', 'count', 'category', 'text' or 'ignore'.
        likelihood: A name of ``cmvae.likelihoods.LIKELIHOODS``; None: as the kinds say.
        likelihood_params: Its parameters.
        network: A name of ``cmvae.networks.NETWORKS``; None: as the shape says.
        size: Height and width that images are scaled to, in pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, Field(min_length=1)]
    id: str | None = None
    array: str | None = None
    layer: str | None = None
    ids: str | None = None
    kinds: dict[str, str] = Field(default_factory=dict)
    likelihood: Annotated[str | None, BeforeValidator(_known_likelihood)] = None
    likelihood_params: dict[str, Any] = Field(default_factory=dict)
    network: Annotated[str | None, BeforeValidator(_known_network)] = None
    size: tuple[Positive, Positive] | None = None

    def changed(self, **changes: Any) -> "ModalityFile":
        """Return a validated copy with some fields changed.

        Raises:
            ValueError: For a value that is not allowed.
        """
        return _validated(ModalityFile, {**self.model_dump(), **changes}, "modality")

    def resolved(self, folder: Path) -> "ModalityFile":
        """Return a copy with absolute paths, relative ones taken from a folder."""
        places = {"path": self.path, "ids": self.ids}
        return self.changed(**{name: str((folder / place).absolute()) for name, place in places.items() if place})


class RunConfig(BaseModel):
    """Everything that a run is repeated from.

    Attributes:
        modalities: Name to file.
        seed: Seed of the weights, of training and of the clusters' start.
        device: Lightning's ``accelerator``.
        recipe: Settings of model and training.

    Example:
        >>> config = RunConfig.make({"modalities": {"rna": "rna.csv"}, "recipe": {"n_clusters": 3}})
        >>> config.modalities["rna"].path, config.recipe.latent_dim
        ('rna.csv', 24)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modalities: dict[Annotated[str, Field(pattern=r"^[^/\\+]+$")], ModalityFile] = Field(min_length=1)
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: str = "auto"
    recipe: Recipe = Field(default_factory=Recipe)

    @classmethod
    def make(cls, content: Any, what: str = "config") -> Self:
        """Validate what a YAML file holds; a modality may be a path alone.

        Raises:
            ValueError: Naming each field that is wrong, what was got and what is allowed.
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"{what}: expected a mapping with 'modalities', got {type(content).__name__}")
        content = dict(content)
        files = content.get("modalities")
        if isinstance(files, Mapping):
            content["modalities"] = {
                name: {"path": file} if isinstance(file, str) else file for name, file in files.items()
            }
        settings = content.get("recipe")
        known = [field.name for field in fields(Recipe)]
        if isinstance(settings, Mapping) and not set(settings) <= set(known):
            unknown = [name for name in settings if name not in known]
            raise ValueError(f"{what}: recipe has unknown settings {unknown}; it takes {known}")
        return _validated(cls, content, what)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML file; relative paths in it are taken from its folder.

        Raises:
            ValueError: If it is missing or holds something else.
        """
        config = cls.make(_read_yaml(path), str(path))
        files = {name: file.resolved(path.parent) for name, file in config.modalities.items()}
        return config.model_copy(update={"modalities": files})

    def to_yaml(self) -> str:
        """Return the settings as YAML; those of a modality that were left open are left out."""
        content = self.model_dump(mode="json")
        content["modalities"] = {
            name: file.model_dump(mode="json", exclude_defaults=True) for name, file in self.modalities.items()
        }
        content["recipe"]["hidden_dims"] = list(self.recipe.hidden_dims)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def read_data_yaml(path: Path) -> dict[str, ModalityFile]:
    """Read a YAML file that names modalities and nothing else, as ``cmvae fit --data`` takes it.

    Raises:
        ValueError: If it is missing or holds something else.
    """
    content = _read_yaml(path)
    if isinstance(content, Mapping) and set(content) - {"modalities"}:
        raise ValueError(f"{path}: expected 'modalities' alone, got {list(content)}; settings are for --config")
    config = RunConfig.make(content, str(path))
    return {name: file.resolved(path.parent) for name, file in config.modalities.items()}


def _read_yaml(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {error}") from error


def _validated(kind: Any, content: Any, what: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        parts = []
        for item in error.errors():
            where = ".".join(str(step) for step in item["loc"])
            parts.append(f"{where}: {item['msg'].removeprefix('Value error, ')}, got {item['input']!r}")
        raise ValueError(f"{what}: {'; '.join(parts)}") from None

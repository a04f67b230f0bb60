"""What a run is made from: modalities, settings and seed, to and from YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field

from cmvae.base.reading import read_yaml
from cmvae.base.settings import Name, Natural, PositiveInt, Settings
from cmvae.files.modality import CovariateFile, ModalityFile
from cmvae.training.devices import Devices, Precision, Strategy
from cmvae.training.recipe import Recipe
from cmvae.training.start import IntegerOrAuto


class RunConfig(Settings):
    """Everything that a run is repeated from.

    Attributes:
        modalities: Name to file.
        seed: Seed of the weights, of training and of the clusters' start: scikit-learn's
            ``random_state``.
        device, devices, num_nodes, strategy, precision: Where it is trained
            (:class:`cmvae.training.devices.Devices`).
        recipe: Settings of model and training.
        diffusion: Modalities of images that diffusion decoders are trained for as well.
        diffusion_epochs: Their passes over the data; 'auto': about 2,000 steps.
        covariates: Name to where it is, of what is known of samples and is not to make clusters.

    Example:
        >>> config = RunConfig.make({"modalities": {"rna": "rna.csv"}, "recipe": {"n_clusters": 3}})
        >>> config.modalities["rna"].path, config.recipe.latent_dim
        ('rna.csv', 24)
    """

    modalities: Annotated[dict[Name, ModalityFile], Field(min_length=1)]
    seed: Annotated[Natural, Field(lt=2**32)] = 0
    device: str = "auto"
    devices: IntegerOrAuto = 1
    num_nodes: PositiveInt = 1
    strategy: Strategy = "auto"
    precision: Precision = "32-true"
    recipe: Recipe = Field(default_factory=Recipe)
    diffusion: tuple[Name, ...] = ()
    diffusion_epochs: IntegerOrAuto = "auto"
    covariates: dict[Name, CovariateFile] = Field(default_factory=dict)

    @property
    def where(self) -> Devices:
        """Where it is trained."""
        return Devices(**{name: getattr(self, name) for name in Devices.model_fields})

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
        known = {name: own.resolved(path.parent) for name, own in config.covariates.items()}
        return config.replace(modalities=files, covariates=known)

    def to_yaml(self) -> str:
        """Return the settings as YAML; those of a modality that were left open are left out."""
        content = self.to_plain()
        content["modalities"] = {
            name: file.model_dump(mode="json", exclude_defaults=True)
            for name, file in self.modalities.items()
        }
        content["covariates"] = {
            name: own.model_dump(mode="json", exclude_defaults=True)
            for name, own in self.covariates.items()
        }
        if not self.covariates:
            del content["covariates"]
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

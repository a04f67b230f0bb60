"""What scripts for MultiVae get under its names: this package's classes, with its keywords."""

import sys
import warnings
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from cmvae.base.outputs import ModelOutput
from cmvae.models.build import Supplied
from cmvae.models.cmvae import CMVAE as OwnCMVAE
from cmvae.models.inference import Names, chosen_modalities, private_priors
from cmvae.multivae.converting import read_model
from cmvae.multivae.folder import is_folder
from cmvae.multivae.lenient import encode_or_draw

_OF_TRAINERS = ("epoch", "dataset_size", "uses_ddp", "batch_ratio")  # which CMVAE does not read


class CMVAE(OwnCMVAE):
    """A :class:`cmvae.CMVAE` that understands the keywords of MultiVae's scripts.

    Axes are those of :class:`cmvae.CMVAE`: of one draw, too, (samples, draws, ...); a warning says
    so where MultiVae would have dropped the axis of draws.
    """

    def forward(self, inputs: Any, **keywords: Any) -> ModelOutput:
        """Evaluate the objective; what MultiVae's trainers say of the epoch is not read."""
        return super().forward(
            inputs, **{name: own for name, own in keywords.items() if name not in _OF_TRAINERS}
        )

    def encode(
        self,
        inputs: Any,
        cond_mod: Names = "all",
        N: int = 1,
        return_mean: bool = False,
        *,
        ignore_incomplete: bool = False,
        **keywords: Any,
    ) -> ModelOutput:
        """Draw latents; with ``ignore_incomplete`` from the prior where nothing is observed."""
        _warn_of_draws("encode", N, keywords.get("flatten", False))
        if ignore_incomplete:
            return encode_or_draw(self, inputs, cond_mod, N, return_mean, **keywords)
        return super().encode(inputs, cond_mod, N, return_mean, **keywords)

    def predict(
        self,
        inputs: Any,
        cond_mod: Names = "all",
        gen_mod: Names = "all",
        N: int = 1,
        flatten: bool = False,
        *,
        ignore_incomplete: bool = False,
        return_mean: bool = False,
        **keywords: Any,
    ) -> ModelOutput:
        """Generate; ``ignore_incomplete`` as of :meth:`encode`."""
        _warn_of_draws("predict", N, flatten)
        names = chosen_modalities(self, "gen_mod", gen_mod)
        encode = encode_or_draw if ignore_incomplete else OwnCMVAE.encode
        with torch.no_grad():
            latents = encode(self, inputs, cond_mod, N, return_mean, flatten=flatten, **keywords)
            return self.decode(latents, names)

    def compute_joint_nll(
        self, inputs: Any, K: int = 1000, batch_size_K: int | None = None, **keywords: Any
    ) -> Tensor:
        """Estimate the likelihood, ``batch_size_K`` draws at a time."""
        if batch_size_K is not None:
            keywords.setdefault("chunk_size", batch_size_K)
        return super().compute_joint_nll(inputs, K, **keywords)

    def save(self, dir_path: str | Path) -> None:
        """Save as :meth:`save_pretrained` does."""
        self.save_pretrained(dir_path)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.cluster_centers.device

    @device.setter
    def device(self, device: torch.device | str) -> None:
        self.to(device)

    @property
    def r_logvars_priors(self) -> dict[str, Tensor]:
        """The raw scales of the auxiliary priors by MultiVae's name: modality to (1, dim)."""
        scales = [prior.raw_scale[None] for prior in private_priors(self)]
        return dict(zip(self.modalities, scales, strict=True))

    @property
    def mean_clusters(self) -> list[Tensor]:
        """The centres by MultiVae's name, (1, latent_dim) each; ``cluster_centers`` sets them."""
        return list(self.cluster_centers.split(1))

    @classmethod
    def load_from_folder(
        cls, dir_path: str | Path, *, encoders: Supplied = None, decoders: Supplied = None
    ) -> Self:
        """Load what :meth:`save` wrote, or, as :func:`cmvae.multivae.convert` does, MultiVae."""
        if is_folder(Path(dir_path)):
            return read_model(cls, dir_path, encoders, decoders)
        return cls.from_pretrained(dir_path, encoders=encoders, decoders=decoders)


def _warn_of_draws(member: str, draws: int, flatten: bool) -> None:
    """Warn of the axis of draws where MultiVae has none: arithmetic would broadcast over it."""
    caller = sys._getframe(2).f_globals.get("__name__", "")  # this package knows its own axes
    if draws == 1 and not flatten and not caller.startswith("cmvae."):
        axes = (
            f"{member} returns (samples, draws, ...) here, also for N=1, where MultiVae drops draws"
        )
        wrong = "minus data of shape (samples, ...) it is (samples, samples, ...), without an error"
        warnings.warn(f"{axes}: {wrong}; take [:, 0] or pass flatten=True", stacklevel=3)

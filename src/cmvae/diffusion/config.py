"""The settings of a diffusion decoder: validated once, frozen, to and from JSON."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cmvae.base.settings import Flag, PositiveFloat, PositiveInt, Settings, Shape, Share

MOST_STEPS = 1_000_000


class DiffusionConfig(Settings):
    """The settings of a :class:`cmvae.DiffusionDecoder`, by default DiffuseVAE's (TMLR 2022).

    Args:
        form: 1: x̂ is given to the denoiser, and the forward process is the standard one. 2: the
            forward process carries x̂ as well (see :mod:`cmvae.diffusion.process`).
        latents: Whether the denoiser is given z beside x̂, from which x̂ was decoded: what it says
            is then learned even where a blurred x̂ does not show it.
        prediction: What the denoiser predicts: ``'epsilon'``, the noise (Ho et al., 2020), or
            ``'v'``, √ᾱ_t ε − √(1−ᾱ_t) x_0 (Salimans and Ho, 2022).
        schedule: ``'linear'`` (Ho et al., 2020) or ``'cosine'`` (Nichol and Dhariwal, 2021).
        train_steps: T, the number of noise levels.
        channels: Images: channels of the U-Net at each resolution, each half the one before.
        patch: Images: side in pixels of the squares whose pixels become channels before the U-Net
            and pixels again after it. With 2 its cost is about a third.
        layers_per_block: Images: residual layers at each resolution.
        attention: Images: whether there is a self-attention layer at the coarsest resolution.
        hidden_dim: Vectors: width of the residual perceptron.
        n_blocks: Vectors: its residual blocks.
        dropout: Share of units that are dropped in training.
        condition_dropout: Share of samples in training whose x̂ (and z) is withheld: guidance needs
            it.
        ema_decay: Decay of the moving average of the weights, which is what samples.
        scaling: How data and x̂ are brought to about [−1, 1]: ``'unit'``, 2x − 1, for data in [0,
            1] (default for images); ``'standard'``, by mean and standard deviation of the training
            data, of each feature of a vector, each channel of an image (default for the rest).
        clip: Whether samples are held to [−1, 1] on the way; by default where scaled by ``'unit'``.

    Example:
        >>> config = DiffusionConfig(form=2, channels=(16, 32))
        >>> DiffusionConfig.from_json(config.to_json()) == config
        True
    """

    form: Literal[1, 2] = 1
    latents: Flag = False
    prediction: Literal["epsilon", "v"] = "epsilon"
    schedule: Literal["linear", "cosine"] = "linear"
    train_steps: PositiveInt = 1000
    channels: Shape = (64, 128, 128)
    patch: PositiveInt = 1
    layers_per_block: PositiveInt = 2
    attention: Flag = True
    hidden_dim: PositiveInt = 256
    n_blocks: PositiveInt = 4
    dropout: Share = 0.0
    condition_dropout: Share = 0.1
    ema_decay: Annotated[PositiveFloat, Field(lt=1)] = 0.999
    scaling: Literal["unit", "standard"] | None = None
    clip: Flag | None = None

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if not 2 <= self.train_steps <= MOST_STEPS:
            allowed = f"from 2 to {MOST_STEPS}"
            raise ValueError(f"train_steps must be {allowed}, got {self.train_steps}")
        return self

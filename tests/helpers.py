"""Small random models and data for tests."""

import copy
import math

import torch
from torch import nn

from cmvae import CMVAE, BaseDecoder, BaseMultilatentEncoder, CMVAEConfig, ModelOutput

SHAPES = {"a": (3,), "b": (4,), "c": (2, 2)}
LATENT, STYLE = 3, 2


class Encoder(BaseMultilatentEncoder):
    """A linear map, or layers of the caller's and then one."""

    def __init__(self, shape, latent_dim=LATENT, style_dim=STYLE, before=(), width=None):
        super().__init__()
        self.sizes = (latent_dim, latent_dim, style_dim, style_dim)
        self.before = nn.Sequential(nn.Flatten(), *before)
        self.last = nn.Linear(width or math.prod(shape), sum(self.sizes))

    def forward(self, x):
        loc, raw, style_loc, style_raw = self.last(self.before(x.to(self.last.weight.dtype))).split(
            self.sizes, -1
        )
        return ModelOutput(
            embedding=loc,
            log_covariance=raw,
            style_embedding=style_loc,
            style_log_covariance=style_raw,
        )


class Decoder(BaseDecoder):
    """A linear map, layers of the caller's before it; counts the rows of its calls."""

    def __init__(self, shape, latent_dim=LATENT, style_dim=STYLE, before=(), width=None):
        super().__init__()
        self.shape, self.rows = tuple(shape), []
        self.layers = nn.Sequential(
            *before, nn.Linear(width or latent_dim + style_dim, math.prod(shape))
        )

    def forward(self, z):
        self.rows.append(len(z))
        return ModelOutput(reconstruction=self.layers(z).reshape(-1, *self.shape))


def noisy_layers(size, width=6):
    """Return layers with batch normalisation and dropout."""
    return nn.Linear(size, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3)


def networks(shapes=SHAPES, latent_dim=LATENT, style_dim=STYLE, noisy=False):
    """Return custom encoders and decoders by modality."""
    encoders, decoders = {}, {}
    for m, shape in shapes.items():
        sizes = (latent_dim, style_dim)
        into = {"before": noisy_layers(math.prod(shape)), "width": 6} if noisy else {}
        out = {"before": noisy_layers(sum(sizes)), "width": 6} if noisy else {}
        encoders[m], decoders[m] = Encoder(shape, *sizes, **into), Decoder(shape, *sizes, **out)
    return encoders, decoders


def make_config(shapes=SHAPES, **fields):
    """Return small settings."""
    defaults = {
        "latent_dim": LATENT,
        "modalities_specific_dim": STYLE,
        "number_of_clusters": 4,
        "K": 3,
    }
    return CMVAEConfig(n_modalities=len(shapes), input_dims=shapes, **{**defaults, **fields})


def make_model(shapes=SHAPES, noisy=False, seed=0, **fields):
    """Return a model with custom networks whose parameters are all random."""
    torch.manual_seed(seed)
    config = make_config(shapes, **fields)
    return randomise(CMVAE(config, *networks(shapes, config.latent_dim, noisy=noisy)))


@torch.no_grad()
def randomise(model, amount=0.5):
    """Move every parameter from where it started, and every normalisation's statistics."""
    for parameter in model.parameters():
        parameter += amount * torch.randn_like(parameter)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer += torch.rand_like(buffer)
    return model


def make_data(shapes=SHAPES, n=8, seed=0):
    """Return complete random data."""
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.get_default_dtype()
    return {
        m: torch.randn(n, *shape, generator=generator, dtype=dtype) for m, shape in shapes.items()
    }


def make_masks(modalities, n=8, seed=0):
    """Return masks with something missing; sample i has at least modality i mod M."""
    generator = torch.Generator().manual_seed(seed)
    masks = {m: torch.rand(n, generator=generator) < 0.5 for m in modalities}
    for i, mask in enumerate(masks.values()):
        mask[i :: len(masks)] = True
        if len(masks) > 1:
            mask[(i + 1) % len(masks) :: len(masks)] &= i % 2 == 0
    return masks


def incomplete(shapes=SHAPES, n=8, seed=0):
    """Return an incomplete batch; unobserved entries hold zeros."""
    data, masks = make_data(shapes, n, seed), make_masks(shapes, n, seed)
    for m, x in data.items():
        x[~masks[m]] = 0
    return ModelOutput(data=data, masks=masks)


def gradients(model):
    """Return the gradients by parameter name."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def loss_and_gradients(model, inputs, seed=1, **arguments):
    """Return the output of one training step without the step, and its gradients."""
    torch.manual_seed(seed)
    model.zero_grad()
    output = model(inputs, **arguments)
    output.loss.backward()
    return output, gradients(model)


def snapshot(model):
    """Return all that an evaluation must leave as it is."""
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "trained": {name: p.requires_grad for name, p in model.named_parameters()},
        "modes": [module.training for module in model.modules()],
        "config": copy.deepcopy(model.model_config).to_json(),
    }


def assert_same_snapshot(before, after):
    """Compare two snapshots, bit for bit."""
    assert before["config"] == after["config"]
    assert before["modes"] == after["modes"]
    assert before["trained"] == after["trained"]
    assert_same(before["state"], after["state"])


def assert_same(one, other):
    """Compare nested results bit for bit, NaN equal to NaN."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    else:
        assert one == other

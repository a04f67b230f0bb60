"""Folders as MultiVae saves its CMVAE, made by names and shapes alone, without MultiVae."""

import json
from dataclasses import replace

import torch

SHAPES = {"a": (5,), "b": (2, 3)}
LATENT, PRIVATE, CLUSTERS, HIDDEN = 4, 3, 6, 512
FAMILIES = ("laplace_with_softmax", "normal_with_softplus", "normal")
PRUNED = (1, 4)
KINDS = {
    **{family: {"prior_and_posterior_dist": family} for family in FAMILIES},
    "categorical": {
        "decoders_dist": {"a": "normal", "b": "categorical"},
        "decoder_dist_params": {},
        "uses_likelihood_rescaling": False,
    },
    "pruned": {},
}
"""What a folder is of, and the settings that are others than :func:`settings`."""
NOISE = 0.5  # of every latent in every draw, in units of its scale


def settings(**changes):
    fields = {
        "name": "CMVAEConfig",
        "n_modalities": 2,
        "latent_dim": LATENT,
        "input_dims": {name: list(shape) for name, shape in SHAPES.items()},
        "uses_likelihood_rescaling": True,
        "rescale_factors": None,
        "decoders_dist": {"a": "laplace", "b": "bernoulli"},
        "decoder_dist_params": {"a": {"scale": 0.75}},
        "custom_architectures": [],
        "K": 2,
        "prior_and_posterior_dist": "laplace_with_softmax",
        "learn_modality_prior": True,
        "beta": 2.5,
        "modalities_specific_dim": PRIVATE,
        "reconstruction_option": "joint_prior",
        "loss": "iwae_looser",
        "number_of_clusters": CLUSTERS,
    }
    return {**fields, **changes}


def waves(*shape, phase=0.0, size=0.2):
    """Return numbers that look random and are the same everywhere."""
    count = torch.arange(float(torch.Size(shape).numel()), dtype=torch.float64)
    return (size * torch.sin(1.7 * count * (1 + 0.01 * count % 1) + phase)).float().reshape(shape)


def linear(name, n_in, n_out, phase):
    weight, bias = waves(n_out, n_in, phase=phase), waves(n_out, phase=phase + 1)
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def encoder(size, phase=0.0):
    state = linear("layers.0.0", size, HIDDEN, phase)
    for i, (name, dim) in enumerate(
        (("embedding", LATENT), ("log_var", LATENT), ("style_embedding", PRIVATE),
         ("style_log_var", PRIVATE))
    ):  # fmt: skip
        state |= linear(name, HIDDEN, dim, phase + 2 + i)
    return state


def decoder(size, phase=0.0):
    first = linear("layers.0.0", LATENT + PRIVATE, HIDDEN, phase + 7)
    return first | linear("layers.1.0", HIDDEN, size, phase + 8)


def priors(pruned=()):
    state = {"_pc_params": waves(CLUSTERS, size=1.0)}
    state["_pc_params"][list(pruned)] = -torch.inf
    for c in range(CLUSTERS):
        state[f"mean_clusters.{c}"] = waves(1, LATENT, phase=c, size=1.0)
        state[f"logvar_clusters.{c}"] = torch.zeros(1, LATENT)
    for i, m in enumerate(SHAPES):
        state[f"r_mean_priors.{m}"] = torch.zeros(1, PRIVATE)
        state[f"r_logvars_priors.{m}"] = waves(1, PRIVATE, phase=i, size=1.0)
    zeros = torch.zeros(1, PRIVATE)
    return {**state, "w_mean_prior": zeros, "w_logvar_prior": zeros.clone()}


def weights(pruned=()):
    state = {}
    for i, (m, shape) in enumerate(SHAPES.items()):
        size = torch.Size(shape).numel()
        state |= {f"encoders.{m}.{name}": own for name, own in encoder(size, i).items()}
        state |= {f"decoders.{m}.{name}": own for name, own in decoder(size, i).items()}
    return state | priors(pruned)


def write(folder, fields=None, state=None):
    folder.mkdir(parents=True, exist_ok=True)
    fields, state = fields or settings(), weights() if state is None else state
    (folder / "model_config.json").write_text(json.dumps(fields))
    torch.save({"model_state_dict": state}, folder / "model.pt")
    return folder


def write_kind(folder, kind):
    return write(folder, settings(**KINDS[kind]), weights(pruned(kind)))


def pruned(kind):
    return PRUNED if kind == "pruned" else ()


def data(n=3):
    """Return values, and rows of which one is 1, which zeros and ones and classes both are."""
    classes = waves(n, 2, 3, phase=2.0).argmax(-1)
    return {"a": waves(n, 5, size=1.0), "b": torch.nn.functional.one_hot(classes, 3).float()}


def masks():
    return {"a": torch.tensor([True, False, True]), "b": torch.tensor([True, True, False])}


def quiet(model, noise=NOISE):
    """Make every draw of one of our models the same."""

    def same(shape, like, generator):
        return torch.full(shape, noise, dtype=like.dtype)

    model.family = replace(model.family, noise=same)
    for part in (*model.private_priors.values(), model.mixture):
        part.family = model.family
    return model


@torch.no_grad()
def numbers(model, pruned=()):
    """Return what one of our models says of the data, as plain lists."""
    own = data()
    found = {"weights": model.pc_params}
    for m in SHAPES:
        means = model.encode(own, m, return_mean=True, flatten=True)
        found |= {f"z_{m}": means.z, f"w_{m}": means.modalities_z[m]}
        found |= {f"{m}_to_{n}": x for n, x in model.decode(means).items()}
    found |= {f"clusters_{m}": p for m, p in model.predict_clusters(own).pc_zs.items()}
    if not pruned:
        found["loss"] = quiet(model)(own).loss_sum
        found["loss_of_incomplete"] = model({"data": own, "masks": masks()}).loss_sum
    return {name: values.tolist() for name, values in found.items()}


@torch.no_grad()
def real_numbers(model, pruned=()):
    """Return the same of a model of the real library."""
    from multivae.data.datasets import IncompleteDataset, MultimodalBaseDataset

    class Quiet(model.latent_dist):
        noise = 0.0

        def rsample(self, sample_shape=()):
            shape = self._extended_shape(torch.Size(sample_shape))
            return (self.loc + self.noise * self.scale).expand(shape)

        sample = rsample

    model.latent_dist = Quiet
    own = MultimodalBaseDataset(data())
    found = {"weights": model.pc_params}
    for m in SHAPES:
        means = model.encode(own, m, return_mean=True)
        found |= {f"z_{m}": means.z, f"w_{m}": means.modalities_z[m]}
        found |= {f"{m}_to_{n}": x for n, x in model.decode(means).items()}
    found |= {f"clusters_{m}": p.T for m, p in model.predict_clusters(own).pc_zs.items()}
    if not pruned:  # of a pruned model MultiVae's own loss is not finite
        Quiet.noise = NOISE
        found["loss"] = model(own).loss_sum
        found["loss_of_incomplete"] = model(IncompleteDataset(data(), masks())).loss_sum
    return {name: values.tolist() for name, values in found.items()}

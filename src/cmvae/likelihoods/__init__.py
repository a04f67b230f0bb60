"""The likelihoods p(x_m | z, w_m): log-densities of a modality given the decoder's output."""

from cmvae.likelihoods.base import CountBlock, LearnedScale, Likelihood
from cmvae.likelihoods.continuous import Laplace, Normal, learned_scales
from cmvae.likelihoods.counts import NegativeBinomial, Poisson
from cmvae.likelihoods.custom import Custom
from cmvae.likelihoods.discrete import Bernoulli, Categorical
from cmvae.likelihoods.mixed import Mixed
from cmvae.likelihoods.registry import LIKELIHOODS, build_likelihood

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "CountBlock",
    "Custom",
    "Laplace",
    "LearnedScale",
    "Likelihood",
    "Mixed",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "build_likelihood",
    "learned_scales",
]

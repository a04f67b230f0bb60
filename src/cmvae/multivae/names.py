"""What of MultiVae is not here, and the way here instead, by the beginnings of names."""

_DATA = "give your arrays to MultimodalBaseDataset or IncompleteDataset"
_LOADING = "use CMVAE.from_pretrained, for MultiVae's folders cmvae.multivae.convert"
_SETTINGS = "CMVAEConfig(networks=...) names networks that are built, cmvae.networks has them"

WAYS = {
    "multivae": "cmvae has datasets, CMVAE and its settings, and base classes for networks",
    "multivae.data.datasets.MMNISTDataset": "use cmvae.datasets.read_polymnist or polymnist_5k",
    "multivae.data.datasets.mmnist": "use cmvae.datasets.read_polymnist or polymnist_5k",
    "multivae.data.datasets.CUB": "use cmvae.datasets.cubicc",
    "multivae.data.datasets.cub": "use cmvae.datasets.cubicc",
    "multivae.data.datasets": _DATA,
    "multivae.data": _DATA,
    "multivae.data.utils": "models of cmvae take batches as they are, on any device",
    "multivae.metrics": "cmvae.metrics has conditional_coherence, frechet_distance and "
    "clustering_scores, model.compute_joint_nll the likelihood, cmvae report the pictures",
    "multivae.samplers": "use model.generate_from_prior, which draws from chosen clusters too",
    "multivae.trainers": "train with cmvae.fit(model, data)",
    "multivae.models": "of its models cmvae has CMVAE alone",
    "multivae.models.AutoModel": _LOADING,
    "multivae.models.auto_model": _LOADING,
    "multivae.models.AutoConfig": "use CMVAEConfig.from_json",
    "multivae.models.nn": _SETTINGS,
    "multivae.models.base.BaseAEConfig": _SETTINGS,
    "multivae.models.base": "of its models cmvae has CMVAE alone",
}
"""Beginning of a dotted name → what to do here; the longest beginning counts."""

PAGE = "docs/multivae.md has all changes to a script"


def way_of(name: str) -> str:
    """Return the sentence for a dotted name of MultiVae that is not here."""
    beginning = max((own for own in WAYS if name.startswith(own)), key=len)
    return f"cmvae has no {name}: {WAYS[beginning]}; {PAGE}"

"""What the data ask of settings that leave it open, and what is to be said of them before."""

import warnings
from collections.abc import Mapping
from typing import Literal

import numpy as np

from cmvae.base.words import counted
from cmvae.files.join import JoinedRows
from cmvae.networks.shapes import is_image
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.variation import vary
from cmvae.runs.config import RunConfig
from cmvae.training.recipe import LEAST_PAIRS

IMAGE_NETWORK = "conv_small"
LOOKED_AT = 1000  # samples that tell whether images differ, where they wait in files
FEW_SHARED = 10  # samples that connect modalities, below which they hardly do


def suited(config: RunConfig, preprocessing: Preprocessing, rows: JoinedRows) -> RunConfig:
    """Return settings that say what was left to the data, for images beside images or texts.

    Their start (:meth:`cmvae.training.recipe.Recipe.suited_to`), and with an alignment for images
    that name none networks of which a CPU takes many steps, and a likelihood for which one wrong
    pixel is not worse than several that are nearly right. Warnings tell of images that are all
    alike, which are none, and of too few samples that have two.

    Args:
        config: The settings.
        preprocessing: What was learned of the data.
        rows: The samples.
    """
    images = _images(preprocessing, rows)
    texts = [name for name, codec in preprocessing.codecs.items() if codec.content == "text"]
    if not images or len(images + texts) < 2:
        return config
    seen = np.stack([rows.masks[name] for name in images + texts])
    count, every = seen.sum(0), len(seen)
    share = float((count * (count - 1)).mean()) / max(1, every * (every - 1))
    pairs = int((count > 1).sum())
    recipe = config.recipe.suited_to(seen.shape[1], pairs, share)
    if recipe.alignment_epochs == "auto" and pairs >= FEW_SHARED:
        what = f"modalities {images + texts}: {counted(pairs, 'sample')} with two of them"
        tail = f"of the {LEAST_PAIRS} that it takes to learn what images share"
        warnings.warn(f"{what}, {tail}: training starts as with tables", stacklevel=3)
    if recipe.alignment is None or pairs < LEAST_PAIRS:
        return config
    files = dict(config.modalities)
    for name in images:
        own = files[name]
        free = own.likelihood is None and not own.likelihood_params
        files[name] = own.replace(
            network=own.network or IMAGE_NETWORK, likelihood="laplace" if free else own.likelihood
        )
    return config.replace(recipe=recipe, modalities=files)


def _images(preprocessing: Preprocessing, rows: JoinedRows) -> list[str]:
    """Return the modalities whose samples are images that differ; warn of those all alike."""
    found = []
    if rows.are_read_later:
        rows = rows.drawn(LOOKED_AT)
    for name, codec in preprocessing.codecs.items():
        if codec.content != "images":
            continue
        own = rows.data[name][rows.masks[name]]
        if len(own) > 1 and not vary(own):
            what = f"modality {name!r}: its {len(own)} images are all the same"
            warnings.warn(f"{what}: they tell no samples apart; leave it out", stacklevel=4)
        elif is_image(codec.input_shape):
            found.append(name)
    return found


def private_option(preprocessing: Preprocessing) -> Literal["aggregate", "joint_prior"]:
    """Return where private latents come from that nothing is observed of; see ``CMVAEConfig``.

    Images that are generated vary as the data do; draws of tables get what varies from their
    likelihoods.
    """
    shapes = [codec.input_shape for codec in preprocessing.codecs.values()]
    return "aggregate" if any(map(is_image, shapes)) else "joint_prior"


def warn_of_unconnected(masks: Mapping[str, np.ndarray]) -> None:
    """Warn of modalities, with masks (n,), that no sample connects with the others, or hardly any.

    Which clusters of the ones are clusters of the others is learned from samples that have both.
    """
    from scipy.sparse.csgraph import connected_components

    seen = np.stack(list(masks.values()))
    # A product of matrices would take numbers, eight times as large as booleans.
    shared = np.array([[np.count_nonzero(one & two) for two in seen] for one in seen])
    for least in (1, FEW_SHARED):
        number, parts = connected_components(shared >= least, directed=False)
        if number < 2 or seen.shape[1] < 4 * (least - 1):
            continue
        names = np.array(list(masks))
        shown = " and ".join(str(names[parts == part].tolist()) for part in range(number))
        both = int((np.stack([seen[parts == p].any(0) for p in range(number)]).sum(0) > 1).sum())
        what = f"modalities {shown} have no sample in common: which clusters of the ones are "
        tail = "clusters of the others cannot be known"
        if both:
            what = f"modalities {shown} have only {both} of {seen.shape[1]} samples in common: "
            what += "clusters may tell which of them a sample has, and little else; which ones are "
            tail = "the same can hardly be known: give a sample one id in all"
        warnings.warn(what + tail, stacklevel=3)
        return

"""What is chosen for the data where settings leave it open: images need more than tables."""

from collections.abc import Mapping

import numpy as np

from cmvae.networks.shapes import is_image
from cmvae.preprocessing import Preprocessing
from cmvae.runs.config import RunConfig

IMAGE_NETWORK = "conv_small"


def suited(
    config: RunConfig, preprocessing: Preprocessing, masks: Mapping[str, np.ndarray]
) -> RunConfig:
    """Return settings that say what was left to the data, where two modalities are images.

    Their start (:meth:`cmvae.training.recipe.Recipe.suited_to`), and for each that names none
    networks of which a CPU takes many steps, and a likelihood for which a wrong pixel is not worse
    than several that are nearly right.

    Args:
        config: The settings.
        preprocessing: What was learned of the data.
        masks: Modality to which samples have it, (n,) boolean.
    """
    images = [
        name
        for name, codec in preprocessing.codecs.items()
        if codec.content == "images" and is_image(codec.input_shape)
    ]
    if len(images) < 2:
        return config
    seen = np.stack([masks[name] for name in images])
    recipe = config.recipe.suited_to(seen.shape[1], int((seen.sum(0) > 1).sum()))
    if recipe == config.recipe:
        return config
    files = dict(config.modalities)
    for name in images:
        own = files[name]
        free = own.likelihood is None and not own.likelihood_params
        files[name] = own.replace(
            network=own.network or IMAGE_NETWORK, likelihood="laplace" if free else own.likelihood
        )
    return config.replace(recipe=recipe, modalities=files)

"""Runs of random models, without a training, the rows that they take, and pictures of a report."""

import base64
import io

import numpy as np
import pandas as pd
import torch
from PIL import Image

from cmvae import CMVAE
from cmvae.files.join import JoinedRows
from cmvae.models.inference import latent_means
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.tables import TableCodec
from cmvae.runs.config import RunConfig
from cmvae.runs.run import Run
from helpers import make_config, make_model, randomise

EVIDENCE = {
    "numbers": (2, 3, 4),
    "scores": (0.5, 1.5, -2.0),
    "chosen": 3,
    "runner_up": 2,
    "share": 0.85,
    "strength": 0.125,
}


def numbers(names, center=0.0, spread=1.0):
    """Return the codec of a table of numbers."""
    columns = [
        {"kind": "continuous", "name": name, "center": center, "spread": spread} for name in names
    ]
    return TableCodec(columns=columns)


def make_rows(data, masks=None, ids=None):
    """Return samples of encoded arrays; masks may be left out."""
    n = len(next(iter(data.values())))
    whole = {name: np.ones(n, dtype=bool) for name in data}
    given = {name: np.asarray(mask, dtype=bool) for name, mask in (masks or {}).items()}
    return JoinedRows([f"s{i}" for i in range(n)] if ids is None else ids, data, whole | given)


def make_run(
    codecs, rows, n_clusters=3, n_pruned=0, log=None, rule="mean", settings=None, **metrics
):
    """Return a run of a random model; centres lie at samples, so that clusters have some.

    ``settings`` are further ones of the model: likelihoods, say.
    """
    preprocessing = Preprocessing(codecs=codecs)
    shapes, n_all = preprocessing.input_dims, n_clusters + n_pruned
    texts = {name: "categorical" for name, codec in codecs.items() if codec.content == "text"}
    if texts:  # word numbers need the networks of the package
        torch.manual_seed(0)
        settings = make_config(shapes, number_of_clusters=n_all, decoders_dist=texts)
        model = randomise(CMVAE(settings))
    else:
        model = make_model(shapes, number_of_clusters=n_all, **(settings or {}))
    means = latent_means(model, preprocessing.dataset(rows))
    model.cluster_centers = means[:n_all].detach()
    model.mixture.logits.data.zero_()
    model.mixture.keep(torch.arange(n_all) < n_clusters)
    files = {name: f"{name}.csv" for name in codecs}
    return Run(
        config=RunConfig.make({"modalities": files, "recipe": {"rule": rule}}),
        preprocessing=preprocessing,
        samples=pd.DataFrame({"id": rows.ids}),
        metrics={
            "sizes": [0] * n_clusters,
            "evidence": None,
            "stability": [None] * n_clusters,
            **metrics,
        },
        log=pd.DataFrame({"phase": [], "epoch": []}) if log is None else log,
        model=model,
    )


def pictures_of(sheet):
    """Return the pictures of a sheet, (n, H, W, 3) bytes."""
    encoded = base64.b64decode(sheet.uri.split(",", 1)[1])
    whole = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    down = whole.shape[0] // sheet.height
    tiles = whole.reshape(down, sheet.height, sheet.across, sheet.width, 3).swapaxes(1, 2)
    return tiles.reshape(-1, sheet.height, sheet.width, 3)[: sheet.count]

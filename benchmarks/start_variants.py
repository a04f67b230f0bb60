"""What each part of a consensus is worth: other starts from the same latents of the same models."""

from unittest.mock import patch

import numpy as np
from rows import timed

from cmvae.clusters import consensus
from cmvae.clusters.sources import sources_of
from cmvae.training.initialization import read_views

MEMBERS = ("model", "aligned", "linear", "linear, aligned")
EQUAL = dict.fromkeys(consensus.WEIGHTS, 1.0)


def only(*families):
    """Return the weights of a judge that sees no other graphs."""
    return {name: float(name in families) for name in EQUAL}


# Variant → which of the models, whether the data's graphs propose and judge, the judge's weights.
START_VARIANTS = {
    "start: consensus, before training": (MEMBERS, True, None),
    "start: without aligned models": (("model", "linear"), True, None),
    "start: without linear models": (("model", "aligned"), True, None),
    "start: the model alone and the data": (("model",), True, None),
    "start: the data alone": ((), True, None),
    "start: latents alone": (MEMBERS, False, None),
    "start: the model's latents alone": (("model",), False, None),
    "judge: agreement alone": (MEMBERS, True, only()),
    "judge: all families alike": (MEMBERS, True, EQUAL),
    "judge: columns and directions": (MEMBERS, True, only("columns", "directions")),
    "judge: joined columns": (MEMBERS, True, only("joined")),
    "judge: latents": (MEMBERS, True, only("latents")),
}
BEST = "start: the best-judged partition, no votes"
HINDSIGHT = "in hindsight: the candidate of largest ACC (no method)"


def start_rows(model, views, labels, number, seed):
    """Return {method: scores} of every variant, for a fitted estimator of a single data set."""
    run, learned = model._run, model._run.preprocessing
    data = model._dataset(views)
    seen = read_views(run.model, data, measured=learned.restore)
    latents = dict(zip(MEMBERS, run.latents, strict=False))
    found = {}
    for name, (members, with_data, weights) in START_VARIANTS.items():
        sources = sources_of(seen if with_data else None, [latents[m] for m in members])
        with patch.dict(consensus.WEIGHTS, weights or {}):
            found[name] = timed(labels, lambda: grouped(sources, number, seed))  # noqa: B023
    sources = sources_of(seen, run.latents)
    candidates = consensus.partitions(sources, number, seed)
    scores = consensus.score_partitions(candidates, sources, number)
    each = [timed(labels, lambda: own) for own in candidates]  # noqa: B023
    found[BEST] = each[int(np.argmax(scores))]
    found[HINDSIGHT] = max(each, key=lambda row: row["ACC"])
    return found


def grouped(sources, number, seed):
    """Return the groups of a consensus."""
    return consensus.find_consensus(sources, number, seed).groups

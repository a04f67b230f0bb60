"""What scikit-learn does with images and captions in a few lines; it is told to find ten groups."""

from functools import partial

import numpy as np
from caption_data import Pairs
from caption_scores import KINDS, NAMES
from sklearn.cluster import KMeans
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmvae.metrics import clustering_scores

GROUPS = 10


class Features:
    """30 leading components of images, and of tf-idf weights of captions, as is usual."""

    def __init__(self, train: Pairs) -> None:
        words = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True)
        self.image = make_pipeline(StandardScaler(), PCA(30, random_state=0), StandardScaler())
        self.caption = make_pipeline(words, TruncatedSVD(30, random_state=0), StandardScaler())
        self.image.fit(self._grey(train))
        self.caption.fit(train.captions)

    def __call__(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Return those of images and of captions, (n, 30) each."""
        return self.image.transform(self._grey(pairs)), self.caption.transform(pairs.captions)

    @staticmethod
    def _grey(pairs: Pairs) -> np.ndarray:
        """Return images without their colours: darkest 0, lightest 1."""
        grey = pairs.images.astype(np.float64).mean(1).reshape(len(pairs), -1)
        low, high = grey.min(1, keepdims=True), grey.max(1, keepdims=True)
        return (grey - low) / (high - low)


def joined(features: Features, train: Pairs):
    """Return pairs → both modalities' features side by side."""
    return lambda pairs: np.concatenate(features(pairs), 1)


def correlated(features: Features, train: Pairs):
    """Return pairs → the sum of what is most correlated between the modalities."""
    cca = CCA(n_components=9, max_iter=2000).fit(*features(train))
    return lambda pairs: np.add(*cca.transform(*features(pairs)))


def single(place: int, features: Features, train: Pairs):
    """Return pairs → the features of one modality."""
    return lambda pairs: features(pairs)[place]


OPPONENTS = {
    "k-means": {
        "image+caption": (joined, partial(KMeans, GROUPS, n_init=10)),
        "image": (partial(single, 0), partial(KMeans, GROUPS, n_init=10)),
        "caption": (partial(single, 1), partial(KMeans, GROUPS, n_init=10)),
    },
    "CCA and Gaussian mixture": {
        "image+caption": (correlated, partial(GaussianMixture, GROUPS, n_init=5))
    },
}


def opponent_rows(pairs: dict[str, Pairs], seeds: list[int]) -> list[dict]:
    """Return the rows of what scikit-learn does in a few lines, told that there are ten groups."""
    features, rows = Features(pairs["train"]), []
    for way, subsets in OPPONENTS.items():
        found = {seed: {"way": way, "seed": seed, "clusters": GROUPS} for seed in seeds}
        for subset, (view, make) in subsets.items():
            seen = view(features, pairs["train"])
            points = {split: seen(own) for split, own in pairs.items()}
            for seed, row in found.items():
                groups = make(random_state=seed).fit(points["train"])
                for split, words in KINDS.items():
                    if (subset, split) == ("image", "new"):  # the images are the same
                        continue
                    own = clustering_scores(pairs[split].labels, groups.predict(points[split]))
                    row |= {f"{n} {subset}, {words}": own[n] for n in NAMES}
        rows += found.values()
    return rows

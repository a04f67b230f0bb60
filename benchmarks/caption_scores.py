"""Who judges captions and images, what is scored of a model of both, and what is drawn of it."""

import numpy as np
import torch
from caption_data import Pairs
from caption_words import names_its_digit
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from timing import device

from cmvae import CMVAE, MultimodalBaseDataset
from cmvae.data import ByteImages
from cmvae.metrics import clustering_by_subset, conditional_coherence, train_classifiers
from cmvae.models.inference import evaluating
from cmvae.preprocessing import Tokenizer

KINDS = {"test": "same writers", "new": "new writers"}
NAMES = ("ACC", "NMI", "ARI")


class CaptionJudge:
    """A linear classifier of captions by their words and pairs of words; of one-hot vectors too."""

    def __init__(self, tokenizer: Tokenizer, train: Pairs) -> None:
        self.tokenizer = tokenizer
        words = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2))
        self.classifier = make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
        self.classifier.fit(self._as_known(tokenizer.encode(train.captions)), train.labels)

    def __call__(self, captions: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities (B, 10) of numbers of words, or of shares of words."""
        numbers = captions.argmax(-1) if captions.ndim == 3 else captions
        found = self.classifier.predict_log_proba(self._as_known(numbers.cpu().numpy()))
        return torch.from_numpy(found)

    def _as_known(self, numbers: np.ndarray) -> list[str]:
        return self.tokenizer.decode(numbers)


def judges_of(pairs: dict[str, Pairs], tokenizer: Tokenizer) -> dict:
    """Return a classifier for each modality, trained on the training pairs with their labels."""
    alone = {
        name: MultimodalBaseDataset({"image": ByteImages(own.images)}, own.labels)
        for name, own in pairs.items()
    }
    image = train_classifiers(alone["train"], alone["test"], epochs=12).classifiers["image"]
    return {"image": image, "caption": CaptionJudge(tokenizer, pairs["train"])}


def scores(
    model: CMVAE,
    data: dict[str, MultimodalBaseDataset],
    judges: dict,
    seed: int,
    rule: str = "mean",
) -> dict:
    """Return the scores of the test pairs, with the captions of both groups of writers."""
    found: dict = {"clusters": model.n_clusters}
    for split, words in KINDS.items():
        generator = torch.Generator(device()).manual_seed(seed)
        with evaluating(model):
            coherence = conditional_coherence(model, data[split], judges, generator=generator)
        by_subset = clustering_by_subset(model, data[split], data[split].labels, rule=rule)
        for subset in ("image+caption", "image", "caption"):
            known = split == "new" and subset == "image"
            names = () if known else NAMES
            found |= {f"{n} {subset}, {words}": by_subset[subset][n] for n in names}
        shares = coherence.by_subset
        found[f"caption → image, {words}"] = shares["caption"]["image"]
        if split == "test":
            found["image → caption"] = shares["image"]["caption"]
            own = coherence.self_generation
            found |= {f"{m} → itself": own[m] for m in own}
    return found


def about(pairs: dict[str, Pairs], data: dict, judges: dict) -> list[str]:
    """Say what the data are, and what the judges reach on them."""
    named = {
        split: np.mean([names_its_digit(*own) for own in zip(p.captions, p.labels, strict=True)])
        for split, p in pairs.items()
    }
    seen = {}
    for split in KINDS:
        batch = data[split].batch(range(len(data[split])))
        for m, judge in judges.items():
            with torch.no_grad():
                classes = judge(batch["data"][m]).argmax(-1)
            seen[m, split] = float((classes == batch["labels"]).float().mean())
    return [
        f"{len(pairs['train'])} pairs train, {len(pairs['test'])} test. All captions are made up, "
        "by rules, in the manner of eleven writers, and of three others in the test alone. "
        f"{100 * named['train']:.0f} % of the training captions hold the numeral or the name of "
        f"their digit (same writers {100 * named['test']:.0f} %, new writers "
        f"{100 * named['new']:.0f} %). Judges, trained on the training pairs and their labels, are "
        f"right on {seen['image', 'test']:.3f} of real test images, on "
        f"{seen['caption', 'test']:.3f} of test captions by the same writers and "
        f"{seen['caption', 'new']:.3f} by new ones: what coherence can reach.",
        "",
    ]


def draw(model: CMVAE, tokenizer: Tokenizer, pairs: dict, data: dict, seed: int) -> Figure:
    """Draw test captions beside images made of them, and test images beside captions of them."""
    generator = torch.Generator(device()).manual_seed(seed)
    picked = [("test", i) for i in range(7)] + [("new", i) for i in range(7, 12)]
    figure = Figure(figsize=(13, 0.75 * len(picked)), layout="constrained")
    axes = figure.subplots(len(picked), 9, width_ratios=[5, *[1] * 7, 5])
    for row, (split, place) in zip(axes, picked, strict=True):
        few = data[split][place : place + 1]
        made = model.predict(few, "caption", "image", N=6, generator=generator)["image"][0]
        logits = model.predict(few, "image", "caption", generator=generator)["caption"][:, 0]
        said = tokenizer.decode(logits.argmax(-1).cpu().numpy())[0]
        row[0].text(1, 0.5, pairs[split].captions[place], ha="right", va="center", fontsize=8)
        row[-1].text(0, 0.5, said, va="center", fontsize=8)
        shown = [*made.cpu(), few.batch(range(1))["data"]["image"][0]]
        for axis, image in zip(row[1:-1], shown, strict=True):
            axis.imshow(image.clamp(0, 1).permute(1, 2, 0))
        for axis in row:
            axis.set_axis_off()
    titles = {0: "caption of a test pair", 3: "images made of it", 7: "its image"}
    for place, words in (titles | {8: "caption made of the image"}).items():
        axes[0, place].set_title(words, fontsize=8)
    return figure

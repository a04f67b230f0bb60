"""Small classifiers of images, one a modality: judges of coherence, and extractors of features."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from cmvae.base.arguments import positive_float, positive_int
from cmvae.base.files import atomic_write
from cmvae.base.quiet import quiet_training
from cmvae.base.reading import read_json
from cmvae.base.words import message_of, shown
from cmvae.data.loading import as_dataset, batch_at, batch_loader
from cmvae.datasets.cache import cache_folder, writing
from cmvae.metrics.coherence import real_coherence
from cmvae.metrics.reading import batches, class_labels
from cmvae.models.pretrained import CONFIG_NAME, WEIGHTS_NAME

VERSION = 1  # of networks and training: raised when either changes, so that older caches are unread
N_SAMPLED = 64  # samples that stand for the data in the cache's name
MAX_TURN, MAX_STRETCH, MAX_SHEAR = 0.2, 0.1, 0.1  # radians, shares, shares
MAX_SHIFT = 0.15  # of half a side
NOISE = 0.05
MAX_RATE = 4e-3


class DigitClassifier(nn.Module):
    """A small convolutional classifier of images in [0, 1]; values beyond are cut off.

    Args:
        input_shape: (channels, height, width), height and width at least 8 pixels.
        n_classes: How many classes.
        width: Channels of the first stage; the second and third have twice as many.
        n_features: Size of the penultimate layer.

    Raises:
        ValueError: For other shapes, or a size that is no positive integer.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        n_classes: int = 10,
        width: int = 24,
        n_features: int = 128,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 8:
            wanted = "(channels, height, width) of 8 pixels or more"
            raise ValueError(f"input_shape must be {wanted}, got {input_shape}")
        self.input_shape, self.n_classes = tuple(input_shape), positive_int("n_classes", n_classes)
        channels = positive_int("channels", input_shape[0])
        widths = [channels, positive_int("width", width), 2 * width, 2 * width]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
        inner = widths[-1] * (input_shape[1] // 8) * (input_shape[2] // 8)
        dense = nn.Linear(inner, positive_int("n_features", n_features))
        layers += [nn.Flatten(), nn.Dropout(0.2), dense, nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(n_features, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the penultimate layer, (B, n_features); ``ValueError`` for another shape."""
        if tuple(x.shape[1:]) != self.input_shape:
            raise ValueError(f"images must be (n, *{self.input_shape}), got shape {tuple(x.shape)}")
        images = x.to(self.head.weight.dtype).clamp(0, 1)
        # Channels last: half the time on a CPU.
        found: Tensor = self.trunk(images.contiguous(memory_format=torch.channels_last))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (B, n_classes), for images (B, *input_shape)."""
        logits: Tensor = self.head(self.features(x))
        return logits


@dataclass(frozen=True)
class TrainedClassifiers:
    """Classifiers and how good they are.

    Attributes:
        classifiers: Modality to classifier, in eval mode.
        accuracy: Modality to the share of test samples that get their label, in [0, 1].
    """

    classifiers: dict[str, DigitClassifier]
    accuracy: dict[str, float]


def train_classifiers(
    train: Any,
    test: Any,
    *,
    n_classes: int = 10,
    epochs: int = 4,
    batch_size: int = 128,
    learning_rate: float = MAX_RATE,
    seed: int = 0,
    cache: str | Path | None = None,
    **trainer_arguments: Any,
) -> TrainedClassifiers:
    """Train a classifier for each modality, or read those trained the same way on the same data.

    Images are turned, stretched, shifted and made noisy at random in training. PyTorch's global
    random generator is as before afterwards. Classifiers are kept as ``config.json`` and
    ``model.safetensors`` in a folder of the cache that is named by a hash of settings and data
    (labels, shapes and 64 samples of ``train`` and ``test``).

    Args:
        train: Samples with every modality observed and labels 0, 1, …: anything that
            :func:`cmvae.metrics.reading.batches` takes, with images (n, C, H, W) in [0, 1].
        test: Likewise, for the accuracies.
        n_classes: How many classes.
        epochs: Passes over ``train``.
        batch_size: Samples in each step.
        learning_rate: Largest step size of Adam, in one cycle (Smith and Topin, 2019).
        seed: Seed of starting weights, order and augmentation.
        cache: Folder, instead of the environment's ``CMVAE_CACHE`` or ``~/.cache/cmvae``.
        **trainer_arguments: Anything that ``lightning.pytorch.Trainer`` takes.

    Raises:
        ValueError: For labels, shapes or values that do not fit, incomplete samples, a damaged
            cache, or an argument out of range.
        TypeError: For a number of the wrong type, or an argument that the trainer does not know.
        OSError: For a cache that cannot be written.
    """
    train, test = as_dataset(train), as_dataset(test)
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be an integer, got {shown(seed)}")
    settings = {
        "version": VERSION,
        "n_classes": positive_int("n_classes", n_classes),
        "epochs": positive_int("epochs", epochs),
        "batch_size": positive_int("batch_size", batch_size),
        "learning_rate": positive_float("learning_rate", learning_rate),
        "seed": int(seed),
        **{f"trainer.{name}": repr(value) for name, value in trainer_arguments.items()},
    }
    shapes = _check_data(train, "train", n_classes)
    if _check_data(test, "test", n_classes) != shapes:
        raise ValueError("train and test differ in modalities or shapes")
    described = json.dumps([settings, _fingerprint(train), _fingerprint(test)])
    key = hashlib.sha256(described.encode()).hexdigest()[:16]
    with writing(cache_folder(cache)), tempfile.TemporaryFile(dir=cache_folder(cache)):
        folder = cache_folder(cache) / f"classifiers-{key}"
    if (folder / CONFIG_NAME).is_file():
        return _load(folder)
    order = {"shuffle": True, "generator": Generator().manual_seed(int(seed))}
    loader = batch_loader(train, batch_size, drop_last=len(train) > batch_size, **order)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(seed))
        networks = {m: DigitClassifier(shape, n_classes) for m, shape in shapes.items()}
        training = _Training(networks, learning_rate)
        _train(training, loader, {"max_epochs": epochs, **trainer_arguments})
    classifiers = {m: network.cpu().eval() for m, network in networks.items()}
    trained = TrainedClassifiers(classifiers, real_coherence(test, networks).accuracy)
    _save(folder, trained, {**settings, "shapes": shapes, "accuracy": trained.accuracy})
    return trained


class _Training(LightningModule):
    """The classifiers of all modalities, trained side by side on the same batches."""

    def __init__(self, networks: Mapping[str, DigitClassifier], learning_rate: float) -> None:
        super().__init__()
        self.names = list(networks)
        self.networks = nn.ModuleList(networks.values())
        self.learning_rate = learning_rate

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Return the cross-entropy summed over modalities."""
        losses = []
        for m, network in zip(self.names, self.networks, strict=True):
            logits = network(augmented(batch["data"][m]))
            losses.append(F.cross_entropy(logits, batch["labels"].long(), label_smoothing=0.05))
        return torch.stack(losses).sum()

    def configure_optimizers(self) -> Any:
        """Return Adam with decoupled weight decay, its step size in one cycle."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=1e-2)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = OneCycleLR(optimizer, self.learning_rate, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _train(training: _Training, loader: Any, trainer_arguments: dict[str, Any]) -> None:
    names = ("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar")
    with tempfile.TemporaryDirectory() as scratch, quiet_training():
        own = {**dict.fromkeys(names, False), "default_root_dir": scratch}
        Trainer(**{**own, **trainer_arguments}).fit(training, loader)


def augmented(images: Tensor) -> Tensor:
    """Turn, stretch, shear and shift images (B, C, H, W) at random, and add noise; float32."""
    images = images.float()

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(len(images), device=images.device) - 1) * limit

    turn = uniform(MAX_TURN)
    wide, tall, shear = 1 + uniform(MAX_STRETCH), 1 + uniform(MAX_STRETCH), uniform(MAX_SHEAR)
    first = torch.stack([wide * turn.cos(), shear - turn.sin(), uniform(MAX_SHIFT)], -1)
    second = torch.stack([turn.sin() + shear, tall * turn.cos(), uniform(MAX_SHIFT)], -1)
    grid = F.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return moved + NOISE * torch.randn_like(moved)


def _check_data(data: Any, what: str, n_classes: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the modalities; refuse other classes, incomplete samples, no images."""
    shapes: dict[str, tuple[int, ...]] = {}
    for batch in batches(data, 4096):
        highest = int(class_labels(batch, what).max())
        if highest >= n_classes:
            raise ValueError(f"{what}: labels must be below n_classes = {n_classes}, got {highest}")
        lacking = [name for name, mask in batch["masks"].items() if not bool(mask.all())]
        if lacking:
            wanted = "every sample must have observed every modality"
            raise ValueError(f"{what}: {wanted}; some lack {lacking}")
        for name, images in batch["data"].items():
            if not images.is_floating_point() or images.min() < 0 or images.max() > 1:
                wanted = f"images of modality {name!r} must be floats in [0, 1]"
                got = f"{images.dtype} from {images.min():.4g} to {images.max():.4g}"
                raise ValueError(f"{what}: {wanted}, got {got}")
        shapes = {name: tuple(images.shape[1:]) for name, images in batch["data"].items()}
    return shapes


def _fingerprint(data: Any) -> str:
    """Return a hash of the length, the labels and some samples of a dataset."""
    rows = sorted({round(i * (len(data) - 1) / N_SAMPLED) for i in range(N_SAMPLED + 1)})
    sampled = batch_at(data, rows)
    found = hashlib.sha256(str([len(data), *sampled["data"]]).encode())
    labels = getattr(data, "labels", None)
    found.update((sampled["labels"] if labels is None else labels).cpu().numpy().tobytes())
    for images in sampled["data"].values():
        found.update(images.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _save(folder: Path, trained: TrainedClassifiers, record: dict[str, Any]) -> None:
    states = [network.state_dict() for network in trained.classifiers.values()]
    weights = {f"{i}.{k}": v.contiguous() for i, own in enumerate(states) for k, v in own.items()}
    folder.mkdir(exist_ok=True)
    # The settings come last: a folder that has them is complete.
    with atomic_write(folder / WEIGHTS_NAME) as path:
        save_file(weights, path, metadata={"format": "pt"})
    with atomic_write(folder / CONFIG_NAME) as path:
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _load(folder: Path) -> TrainedClassifiers:
    try:
        record = read_json(folder / CONFIG_NAME)
        weights = load_file(folder / WEIGHTS_NAME)
        classifiers = {}
        for index, (name, shape) in enumerate(record["shapes"].items()):
            keys = [key for key in weights if key.startswith(f"{index}.")]
            classifiers[name] = DigitClassifier(shape, record["n_classes"]).eval()
            classifiers[name].load_state_dict({k.partition(".")[2]: weights[k] for k in keys})
        return TrainedClassifiers(classifiers, dict(record["accuracy"]))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"cache: {folder} is damaged, delete it: {message_of(error)}") from None

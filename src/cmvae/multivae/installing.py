"""Import paths of MultiVae, which mean this package's classes, or say what to do instead."""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from cmvae.base.outputs import ModelOutput
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
from cmvae.models.config import CMVAEConfig
from cmvae.multivae.names import way_of
from cmvae.multivae.standing_in import CMVAE
from cmvae.networks.base import BaseDecoder, BaseMultilatentEncoder

_MODEL = {"CMVAE": CMVAE, "CMVAEConfig": CMVAEConfig}
_DATASETS = {"IncompleteDataset": IncompleteDataset, "MultimodalBaseDataset": MultimodalBaseDataset}
# A BaseEncoder there is any encoder; those of its CMVAE return what this one returns.
_NETWORKS = {
    "BaseDecoder": BaseDecoder,
    "BaseEncoder": BaseMultilatentEncoder,
    "BaseMultilatentEncoder": BaseMultilatentEncoder,
    "ModelOutput": ModelOutput,
}
_BASES = {name: _NETWORKS[name] for name in ("BaseDecoder", "BaseEncoder", "ModelOutput")}
_CONTENTS: dict[str, dict[str, Any]] = {
    "multivae": {},
    "multivae.data": _DATASETS,
    "multivae.data.datasets": {**_DATASETS, "DatasetOutput": ModelOutput},
    "multivae.data.datasets.base": {**_DATASETS, "DatasetOutput": ModelOutput},
    "multivae.models": _MODEL,
    "multivae.models.base": _BASES,
    "multivae.models.cmvae": _MODEL,
    "multivae.models.cmvae.cmvae_config": {"CMVAEConfig": CMVAEConfig},
    "multivae.models.cmvae.cmvae_model": {"CMVAE": CMVAE},
    "multivae.models.nn": _NETWORKS,
    "multivae.models.nn.base_architectures": _NETWORKS,
}


def install_as_multivae() -> None:
    """Make MultiVae's import paths mean this package's classes, for the running process.

    Afterwards these work, whichever of them a script uses::

        from multivae.models import CMVAE, CMVAEConfig  # or multivae.models.cmvae
        from multivae.data.datasets import MultimodalBaseDataset, IncompleteDataset  # or .base
        from multivae.models.base import BaseEncoder, BaseDecoder, ModelOutput
        from multivae.models.nn.base_architectures import BaseMultilatentEncoder

    ``BaseEncoder`` means :class:`cmvae.BaseMultilatentEncoder`, ``DatasetOutput``
    :class:`cmvae.ModelOutput`. ``CMVAE`` is a :class:`cmvae.CMVAE` that takes MultiVae's keywords
    too: ``epoch``, ``batch_size_K``, ``ignore_incomplete``; its ``load_from_folder`` reads folders
    of MultiVae. To import anything else of MultiVae (models, trainers, metrics, samplers) is an
    ``ImportError`` that names the way here.

    What differs from MultiVae's CMVAE:

    - *Axis order.* Several draws per sample are (samples, draws, ...), there (draws, samples, ...),
      also for ``N=1``, where it drops the axis; ``flatten=True`` merges the two, draws fastest.
    - *pc_zs* of ``predict_clusters`` are (samples, clusters), there (clusters, samples), with NaN
      in the rows of samples that lack the modality.
    - *loss* of ``forward`` is the mean over the batch, there the sum, which is ``loss_sum`` here:
      scale learning rates tuned for the sum, unless the optimiser ignores it, as Adam nearly does.
    - *The gradient of dreg_looser* is unbiased for any β and any number of modalities; for
      MultiVae's rule, set ``dreg_estimator='published'``. Its value is that of ``iwae_looser``,
      there a weighted sum of log-weights.
    - *Experts.* ``encode`` draws the expert for each sample and draw among those observed, there
      once for the batch, observed or not; ``return_mean=True`` averages the experts' means, there
      it takes one at random.
    - *Clusters.* ``predict_clusters`` averages over modalities at the experts' means; MultiVae
      draws and takes the majority vote: ``rule='vote', sample=True``. ``prune_clusters`` encodes
      each sample once and marks clusters inactive instead of changing logits to −inf;
      ``n_clusters`` can only be read; the centres are one tensor, ``cluster_centers``.
    - *Priors.* With ``'normal_with_softplus'`` those of private latents and clusters have the scale
      1 at the start, there log 2.
    - *Missing modalities.* Only what is observed is encoded; NaN is fine elsewhere.
    - *compute_joint_nll* estimates the model's own likelihood and takes incomplete data. MultiVae
      refuses them, and draws all private latents but one from the auxiliary priors r_n.
    - *Checks.* Datasets check lengths, masks and NaN when made, unknown arguments are a
      ``TypeError``, and a config never changes (``config.replace(...)`` returns a changed copy).
    - *Files.* ``save_pretrained`` and ``from_pretrained`` write and read ``config.json`` and
      ``model.safetensors``. :func:`cmvae.multivae.convert` reads what MultiVae's ``save`` wrote,
      :func:`cmvae.multivae.export` writes it; pickled networks are never loaded.

    Raises:
        ImportError: If the real ``multivae`` has been imported or could be: two libraries of one
            name in one process would mix their classes.

    Example:
        >>> install_as_multivae()  # doctest: +SKIP
        >>> from multivae.models import CMVAE  # doctest: +SKIP
    """
    if _is_ours(sys.modules.get("multivae")):
        return
    real = _find_real()
    if real is not None:
        raise ImportError(
            f"the library multivae is installed ({real}): install_as_multivae would hide it. "
            "Import from cmvae instead, or uninstall multivae",
            name="multivae",
        )
    modules = {name: _make_module(name, contents) for name, contents in _CONTENTS.items()}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    sys.modules.update(modules)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _is_ours(module: ModuleType | None) -> bool:
    spec = getattr(module, "__spec__", None)
    return spec is not None and spec.origin == __name__


def _find_real() -> str | None:
    """Return where the real library lies, None if it cannot be imported."""
    module = sys.modules.get("multivae")
    file, folders = (getattr(module, own, None) for own in ("__file__", "__path__"))
    if module is not None and (file or folders is None):
        return str(file or "already imported")
    spec = importlib.util.find_spec("multivae")
    # A folder of that name without __init__.py, say of results, is no library: it has no origin.
    return None if spec is None else spec.origin


class _Module(ModuleType):
    """A module that says of MultiVae's other names what to do instead."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # which others look for in any module
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        raise _not_here(f"{self.__name__}.{name}")


class _Finder(MetaPathFinder, Loader):
    """Finds MultiVae's other modules, and says upon import what to do instead."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for any module below one of ours that is not there."""
        is_other = fullname.startswith("multivae.") and _is_ours(sys.modules.get("multivae"))
        return ModuleSpec(fullname, self, origin=__name__) if is_other else None

    def exec_module(self, module: ModuleType) -> None:
        """Refuse the module."""
        raise _not_here(module.__name__)


def _not_here(name: str) -> ImportError:
    return ImportError(way_of(name), name=name)


def _make_module(name: str, contents: dict[str, Any]) -> ModuleType:
    """Return a package that holds ``contents``, its only submodules those in ``sys.modules``."""
    module = _Module(name, f"{name} as provided by cmvae; see cmvae.install_as_multivae.")
    module.__spec__ = ModuleSpec(name, None, origin=__name__, is_package=True)
    module.__path__ = []
    module.__package__ = name
    module.__dict__.update(contents, __all__=list(contents))
    return module

"""For scripts written for MultiVae: its import paths, meaning this package's classes."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from cmvae.base.outputs import ModelOutput
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig
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
    :class:`cmvae.ModelOutput`. Nothing else of MultiVae (models, trainers, samplers) is there.

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
    - *Missing modalities.* Only what is observed is encoded; NaN is fine elsewhere.
    - *compute_joint_nll* estimates the model's own likelihood and takes incomplete data. MultiVae
      refuses them, and draws all private latents but one from the auxiliary priors r_n.
    - *Checks.* Datasets check lengths, masks and NaN when made, unknown arguments are a
      ``TypeError``, and a config never changes (``config.replace(...)`` returns a changed copy).
    - *Files.* ``save_pretrained`` and ``from_pretrained`` write and read ``config.json`` and
      ``model.safetensors``. MultiVae's ``save``, ``load_from_folder`` and Hub methods are not there
      and its files, which are pickles, cannot be read.

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


def _is_ours(module: ModuleType | None) -> bool:
    spec = getattr(module, "__spec__", None)
    return spec is not None and spec.origin == __name__


def _find_real() -> str | None:
    """Return where the real library lies, None if it cannot be imported."""
    if "multivae" in sys.modules:
        return str(getattr(sys.modules["multivae"], "__file__", None) or "already imported")
    spec = importlib.util.find_spec("multivae")
    # A folder of that name without __init__.py, say of results, is no library: it has no origin.
    return None if spec is None else spec.origin


def _make_module(name: str, contents: dict[str, Any]) -> ModuleType:
    """Return a package that holds ``contents``, its only submodules those in ``sys.modules``."""
    module = ModuleType(name, f"{name} as provided by cmvae; see cmvae.install_as_multivae.")
    module.__spec__ = ModuleSpec(name, None, origin=__name__, is_package=True)
    module.__path__ = []
    module.__package__ = name
    module.__dict__.update(contents, __all__=list(contents))
    return module

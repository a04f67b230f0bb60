"""Models shared through the Hugging Face Hub: pushed with a card, never without a licence."""

import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cmvae._version import __version__
from cmvae.base.arguments import check_flags
from cmvae.base.extras import from_extra
from cmvae.base.plain import finite_or_none
from cmvae.base.words import message_of, shown

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
CARD = "README.md"
_VERSIONS = ("torch", "lightning", "numpy", "safetensors")
_CARD = """---
{metadata}
---

# {name}

A clustering multimodal VAE (CMVAE; Palumbo et al., "Deep Generative Clustering with Multimodal
Diffusion Variational Autoencoders", ICLR 2024), made with the Python library `cmvae`.

| | |
|---|---|
| modalities | {modalities} |
| clusters | {clusters} |
| latent dimensions | {latent} |
| trained on | {dataset} |
| licence | {license} |

{metrics}## Load it

```python
from cmvae import {kind}

model = {kind}.from_pretrained("{repo}"{networks})
clusters = model.predict_clusters(data).clusters
```

`pip install 'cmvae[{extras}]'` installs what it needs. `data` is a mapping, modality to tensor
(n, *shape), of the shapes above. Nothing in it is pickled.{custom}

{description}## Made with

{versions}
"""


def push_to_hub(
    model: Any,
    repo_id: Any,
    *,
    license: Any,
    dataset: Any,
    metrics: Any = None,
    description: Any = "",
    revision: Any = None,
    private: Any = False,
    message: Any = None,
) -> str:
    """Save a model, write its card, and upload both: ``CMVAE.push_to_hub``; return the address."""
    _check_id(repo_id)
    check_flags(private=private)
    for name, text in (("description", description), ("message", message or "")):
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a text, got {shown(text)}")
    if revision is not None and not (isinstance(revision, str) and revision):
        raise TypeError(f"revision must be the name of a branch or None, got {shown(revision)}")
    card = model_card(model, repo_id, license, dataset, metrics, description)
    hub = from_extra("huggingface_hub", "hub", "push_to_hub")
    api = hub.HfApi()
    with TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        (Path(scratch) / CARD).write_text(card, encoding="utf-8")
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo_id,
                folder_path=scratch,
                revision=revision,
                commit_message=message or f"Push with cmvae {__version__}",
            )
        except Exception as error:
            if isinstance(error, OSError | ValueError | RuntimeError) or _is_of_transport(error):
                raise ValueError(
                    f"{repo_id}: the model was not pushed: {hub_fault(error)}"
                ) from None
            raise
    return str(done)


def is_of_hub(error: Exception) -> bool:
    """Tell whether the Hub, the way to it or its client's checks are at fault."""
    return isinstance(error, OSError | ValueError) or _is_of_transport(error)


def hub_fault(error: Exception) -> str:
    """Say in a line what the Hub answered, or that it did not."""
    text = message_of(error)
    if _is_of_transport(error) or "connect" in text.lower() or "timed out" in text.lower():
        constants = from_extra("huggingface_hub.constants", "hub", "the Hub")
        return f"the Hugging Face Hub ({constants.ENDPOINT}) cannot be reached: {text}"
    return text


def _is_of_transport(error: Exception) -> bool:
    return type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3"))


def _check_id(repo_id: Any) -> None:
    if not isinstance(repo_id, str) or not HUB_ID.fullmatch(repo_id):
        raise ValueError(f"repo_id must be an id of the Hub, 'owner/name', got {shown(repo_id)}")


def model_card(
    model: Any, repo_id: str, license: Any, dataset: Any, metrics: Any = None, description: str = ""
) -> str:
    """Return the card of a model, Markdown with what the Hub reads of it on top.

    Raises:
        ValueError: Without a licence or the name of the data, and for metrics that are no numbers.
    """
    allowed = "an identifier of the Hub such as 'mit', 'apache-2.0', 'cc-by-4.0' or 'other'"
    if not isinstance(license, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise ValueError(f"license must say who may use the model: {allowed}, got {shown(license)}")
    if not isinstance(dataset, str) or not dataset.strip():
        raise ValueError(f"dataset must name the data it was trained on, got {shown(dataset)}")
    found = _checked(metrics)
    inner = getattr(model, "cmvae", model)
    config, name = inner.model_config, repo_id.partition("/")[2]
    data: dict[str, Any] = {"license": license, "library_name": "cmvae", "tags": ["clustering"]}
    data["tags"] += ["multimodal", "variational-autoencoder"]
    if found:
        data["model-index"] = [{"name": name, "results": [_results(dataset, found)]}]
    import yaml

    custom = config.custom_architectures
    told = f" Its networks are its makers' own ({', '.join(custom)}): pass them." if custom else ""
    parts = [part for part in ("encoders", "decoders") if config.supplied(part) != []]
    shapes = [f"{m} {config.shape_of(m) or ''}".strip() for m in inner.modalities]
    return _CARD.format(
        metadata=yaml.safe_dump(data, sort_keys=False, allow_unicode=True).strip(),
        name=name,
        modalities=_cell(", ".join(shapes)),
        clusters=inner.n_clusters,
        latent=config.latent_dim,
        dataset=_cell(dataset),
        license=license,
        metrics=_table(found),
        kind=type(model).__name__,
        extras="hub" if inner is model else "hub,diffusion",
        repo=repo_id,
        networks="".join(f", {part}={part}" for part in parts),
        custom=told,
        description=f"{description.strip()}\n\n" if description.strip() else "",
        versions=_versions(),
    )


def _checked(metrics: Any) -> dict[str, float]:
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must be a mapping, name to number, got {shown(metrics)}")
    found: dict[str, float] = {}
    for name, value in (metrics or {}).items():
        number = finite_or_none(value)
        if not isinstance(name, str) or number is None:
            raise ValueError(f"metrics[{name!r}] must be a finite number, got {shown(value)}")
        found[name] = number
    return found


def _results(dataset: str, metrics: Mapping[str, float]) -> dict[str, Any]:
    measured = [{"type": name, "name": name, "value": value} for name, value in metrics.items()]
    about = {"name": dataset, "type": dataset}
    return {"task": {"type": "clustering"}, "dataset": about, "metrics": measured}


def _table(metrics: Mapping[str, float]) -> str:
    if not metrics:
        return ""
    rows = [f"| {_cell(name)} | {value:.4g} |" for name, value in metrics.items()]
    return "\n".join(["## Measured", "", "| measure | value |", "|---|---|", *rows, "", ""])


def _cell(text: str) -> str:
    """Return a text as a cell of a table can hold it."""
    return " ".join(text.split()).replace("|", "\\|")


def _versions() -> str:
    known = {"cmvae": __version__, "Python": platform.python_version()}
    for package in _VERSIONS:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return ", ".join(f"{name} {number}" for name, number in known.items())

"""Models on the Hugging Face Hub: what stands for one is turned into a local folder."""

import re
from pathlib import Path

from cmvae.base.extras import from_extra

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = ("*.json", "*.safetensors")


def model_folder(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a saved model: ``name`` itself, or where the Hub's model of that id has been fetched to.

    A string ``owner/name`` that is no folder here is taken for an id of the Hub. JSON and
    safetensors files are fetched, nothing else, and kept in the Hub's own cache.

    Args:
        name: A folder, or an id.
        revision: Branch, tag or commit of the Hub's repository.

    Raises:
        ValueError: If there is neither such a folder nor such a model, or a revision is given for a
            folder.
        ImportError: If huggingface_hub is not installed (extra ``hub``).
    """
    is_id = (
        isinstance(name, str) and not Path(name).exists() and _HUB_ID.fullmatch(name) is not None
    )
    if not is_id:
        if revision is not None:
            raise ValueError(
                f"revision is for models of the Hugging Face Hub, but {str(name)!r} is a path"
            )
        return Path(name)
    what = f"{name}: no such folder; a model of this id on the Hugging Face Hub"
    hub = from_extra("huggingface_hub", "hub", what)
    try:
        return Path(
            hub.snapshot_download(str(name), revision=revision, allow_patterns=list(_FILES))
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{name}: no such folder, and the Hugging Face Hub gives no model of this id: {reason}"
        ) from None

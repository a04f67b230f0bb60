"""``cmvae convert``: a model that MultiVae has saved, as one of this package's."""

from pathlib import Path
from typing import Annotated

import typer

from cmvae.cli.console import one_line_errors, say


def convert(
    folder: Annotated[
        Path, typer.Argument(help="Folder that MultiVae's model.save wrote: model.pt in it.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write: config.json, model.safetensors.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model.")] = False,
) -> None:
    """Convert a CMVAE that the library MultiVae has saved: the same numbers, nothing unpickled.

    Networks that MultiVae builds by default are recognised, and those of its example on PolyMNIST;
    others are passed in Python, to cmvae.multivae.convert. What is written is loaded by
    CMVAE.from_pretrained.

    Example: cmvae convert old/final_model --out new
    """
    with one_line_errors():
        from cmvae.base.files import may_write_folder
        from cmvae.models.pretrained import CONFIG_NAME
        from cmvae.multivae import convert as read

        may_write_folder(out, overwrite, "a model", lambda own: (own / CONFIG_NAME).is_file())
        model = read(folder)
        model.save_pretrained(out)
        clusters = f"{model.n_clusters} of {len(model.active_clusters)} clusters active"
        say(f"{len(model.modalities)} modalities ({', '.join(model.modalities)}), {clusters}")
        say(f'Written to {out}; load it with cmvae.CMVAE.from_pretrained("{out}")')

"""What the commands share: the console, errors in one line, options that name modalities."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

if TYPE_CHECKING:
    from cmvae.files.modality import ModalityFile

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

console = Console()
errors = Console(stderr=True, soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """Print a line as it is."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def quieten() -> None:
    """Keep the training framework's advice away from people who did not write the training."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", category=DeprecationWarning)


@contextmanager
def told_in_one_line(
    left: Callable[[], str] | None = None, status: int = EXIT_USAGE
) -> Iterator[None]:
    """Turn errors of the library into one line and an exit status, and say what an interruption leaves.

    Args:
        left: Returns what is said after an interruption.
        status: Exit status for bad input.
    """
    try:
        yield
    except KeyboardInterrupt:
        errors.print(f"Interrupted: {left() if left else 'nothing was written'}", markup=False)
        sys.exit(EXIT_INTERRUPTED)
    except (ValueError, TypeError, KeyError, OSError, ImportError, FloatingPointError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        errors.print(f"Error: {' '.join(str(message).split())}", markup=False)
        sys.exit(EXIT_FAILED if isinstance(error, FloatingPointError) else status)


def named_pairs(option: str, values: Iterable[str] | None) -> dict[str, str]:
    """Read NAME=VALUE, any number of times.

    Raises:
        ValueError: For another form, or a name that repeats.
    """
    pairs: dict[str, str] = {}
    for value in values or ():
        name, equals, rest = value.partition("=")
        if not (name and equals and rest):
            raise ValueError(f"{option} must be NAME=VALUE, got {value!r}")
        if name in pairs:
            raise ValueError(f"{option} names {name!r} more than once")
        pairs[name] = rest
    return pairs


def table_files(
    values: Iterable[str] | None,
    id_column: str | None,
    like: "Mapping[str, ModalityFile] | None" = None,
    option: str = "--modality",
) -> "dict[str, ModalityFile]":
    """Return the files that an option NAME=PATH names, absolute.

    Args:
        values: What the options say.
        id_column: What --id says, for all tables.
        like: Files of the same names whose ids they share, where --id says nothing, and of .h5mu
            files the modality and the layer.
        option: The option, for the errors.
    """
    from cmvae.files.modality import ModalityFile
    from cmvae.files.mudata import MUDATA_SUFFIX

    found = {}
    for name, path in named_pairs(option, values).items():
        before = (like or {}).get(name)
        column = id_column or (before.id if before else None)
        file = ModalityFile(path=str(Path(path).expanduser().absolute()), id=column)
        if before and Path(path).suffix == MUDATA_SUFFIX:
            file = file.replace(array=before.array, layer=before.layer)
        found[name] = file
    return found


def data_files(
    data: Path, id_column: str | None, like: "Mapping[str, ModalityFile] | None" = None
) -> "dict[str, ModalityFile]":
    """Return the modalities that --data FILE names.

    Args:
        data: An .npz with an array for each modality, an .h5mu, or a YAML file that names them.
        id_column: What --id says, for all tables.
        like: Files of a run of the same modalities; an .h5mu is read as they were.

    Raises:
        ValueError: For another file, or one that is missing or damaged.
    """
    from cmvae.files.arrays import array_names
    from cmvae.files.modality import ModalityFile
    from cmvae.files.mudata import MUDATA_SUFFIX, h5mu_files
    from cmvae.runs.config import read_data_yaml

    if data.suffix == ".npz":
        path = str(data.absolute())
        return {name: ModalityFile(path=path, array=name) for name in array_names(data)}
    if data.suffix == MUDATA_SUFFIX:
        return h5mu_files(data, like)
    if data.suffix in (".yaml", ".yml"):
        files = read_data_yaml(data)
        return {name: file.replace(id=file.id or id_column) for name, file in files.items()}
    raise ValueError(f"--data must be an .npz, .h5mu or .yaml file, got {data}")


def with_columns(
    files: "dict[str, ModalityFile]", values: Iterable[str] | None
) -> "dict[str, ModalityFile]":
    """Return the files with the kinds that --kind NAME.COLUMN=KIND names.

    Raises:
        ValueError: For another form, or an unknown modality.
    """
    changed = dict(files)
    for value in values or ():
        place, equals, kind = value.rpartition("=")
        fitting = [
            name for name in files if place.startswith(f"{name}.") and len(place) > len(name) + 1
        ]
        if not (equals and kind and fitting):
            raise ValueError(
                f"--kind must be NAME.COLUMN=KIND with one of the modalities {list(files)}, got {value!r}"
            )
        name = max(fitting, key=len)
        kinds = {**changed[name].kinds, place[len(name) + 1 :]: kind}
        changed[name] = changed[name].replace(kinds=kinds)
    return changed


def with_layers(
    files: "dict[str, ModalityFile]", values: Iterable[str] | None
) -> "dict[str, ModalityFile]":
    """Return the files with the layers that --layer NAME=LAYER names.

    Raises:
        ValueError: For another form, or an unknown modality.
    """
    layers = known("--layer", named_pairs("--layer", values), files)
    return files | {name: files[name].replace(layer=layer) for name, layer in layers.items()}


def with_likelihoods(
    files: "dict[str, ModalityFile]",
    likelihoods: Iterable[str] | None,
    networks: Iterable[str] | None,
) -> "dict[str, ModalityFile]":
    """Return the files with what --likelihood NAME=LIKELIHOOD[,PARAMETER=VALUE] and --network NAME=NETWORK name.

    Raises:
        ValueError: For another form, an unknown modality, or an unknown name.
    """
    changed = dict(files)
    for name, value in known(
        "--likelihood", named_pairs("--likelihood", likelihoods), files
    ).items():
        likelihood, *parameters = value.split(",")
        params: dict[str, Any] = named_pairs(f"--likelihood {name}", parameters)
        values = {key: yaml.safe_load(text) for key, text in params.items()}
        changed[name] = changed[name].replace(likelihood=likelihood, likelihood_params=values)
    for name, value in known("--network", named_pairs("--network", networks), files).items():
        changed[name] = changed[name].replace(network=value)
    return changed


def known(option: str, named: dict[str, str], modalities: Iterable[str]) -> dict[str, str]:
    """Return ``named``, or refuse a modality that there is not.

    Raises:
        ValueError: With both lists of names.
    """
    unknown = [name for name in named if name not in list(modalities)]
    if unknown:
        raise ValueError(
            f"{option} names unknown modalities {unknown}; there are {list(modalities)}"
        )
    return named

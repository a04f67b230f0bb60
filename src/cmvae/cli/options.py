"""Options that name modalities: files, and how they are read."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cmvae.base.reading import read_yaml
from cmvae.files.modality import CovariateFile, ModalityFile
from cmvae.files.suffixes import (
    ANNDATA_SUFFIX,
    MUDATA_SUFFIX,
    READ_TABLE_SUFFIXES,
    suffix_of,
)
from cmvae.preprocessing.covariates import CovariateCodec, chosen_covariates
from cmvae.preprocessing.tables import IGNORE
from cmvae.runs.config import RunConfig

Files = dict[str, ModalityFile]

READING = (
    "delimiter",
    "decimal",
    "thousands",
    "encoding",
    "sheet",
    "subfolders",
    "layout",
    "depth",
)
"""What --read can say of a file."""


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


def modality_files(
    values: Iterable[str] | None,
    id_column: str | None,
    like: Mapping[str, ModalityFile] | None = None,
    option: str = "--modality",
) -> Files:
    """Return the files that an option NAME=PATH names, absolute.

    Args:
        values: What the options say.
        id_column: What --id says, for all tables.
        like: Files of the same names, which are read in the same way; .h5mu and .h5ad files share
            the modality and the layer.
        option: The option, for the errors.
    """
    found = {}
    for name, path in named_pairs(option, values).items():
        before = (like or {}).get(name)
        file = ModalityFile(path=str(Path(path).expanduser().absolute()), id=id_column)
        if before and suffix_of(Path(path)) in (MUDATA_SUFFIX, ANNDATA_SUFFIX):
            file = file.replace(array=before.array, layer=before.layer)
        if before:
            file = file.replace(**{field: getattr(before, field) for field in READING})
        found[name] = file
    return found


def data_files(
    data: Path, id_column: str | None, like: Mapping[str, ModalityFile] | None = None
) -> Files:
    """Return the modalities that --data FILE names.

    Args:
        data: An .npz with an array for each modality, an .h5mu, an .h5ad, whose feature types are
            modalities, or, of one type, whose name without ending is one, or a YAML file that names
            them.
        id_column: What --id says, for all tables.
        like: Files of a run of the same modalities; an .h5mu is read as they were.

    Raises:
        ValueError: For another file, or one that is missing or damaged.
    """
    suffix = suffix_of(data)
    if suffix == ".npz":
        from cmvae.files.arrays import array_names

        path = str(data.absolute())
        return {name: ModalityFile(path=path, array=name) for name in array_names(data)}
    if suffix == MUDATA_SUFFIX:
        from cmvae.files.mudata import h5mu_files

        return h5mu_files(data, like)
    if suffix == ANNDATA_SUFFIX:
        return _h5ad_files(data, like or {})
    if suffix in (".yaml", ".yml"):
        files = _yaml_files(data)
        return {name: file.replace(id=file.id or id_column) for name, file in files.items()}
    raise ValueError(f"--data must be an .npz, .h5mu, .h5ad or .yaml file, got {data}")


def _h5ad_files(data: Path, like: Mapping[str, ModalityFile]) -> Files:
    """Return the modalities of an .h5ad: those of a run, or one, or one for each feature type."""
    from cmvae.files.mudata import h5ad_files, h5ad_types
    from cmvae.omics.reading import default_places

    alike = {name: own for name, own in like.items() if own.path and _is_anndata(own.path)}
    if alike:
        return h5ad_files(data, alike)
    types = h5ad_types(data)
    if len(types) < 2:
        return modality_files([f"{data.stem}={data}"], None)
    return {
        name: ModalityFile(path=str(data.absolute()), layer=place)
        for name, place in default_places(types).items()
    }


def given_files(
    modality: Iterable[str] | None,
    data: Path | None,
    id_column: str | None,
    like: Mapping[str, ModalityFile] | None = None,
) -> Files:
    """Return the modalities that --modality or --data name."""
    if modality and data is not None:
        raise ValueError("--modality and --data exclude each other")
    if data is not None:
        return data_files(data, id_column, like)
    return modality_files(modality, id_column, like)


def with_kinds(files: Files, values: Iterable[str] | None) -> Files:
    """Return the files with the kinds that --kind NAME.COLUMN=KIND names.

    Raises:
        ValueError: For another form, or an unknown modality.
    """
    changed = dict(files)
    for value in values or ():
        place, equals, kind = value.rpartition("=")
        fits = [n for n in files if place.startswith(f"{n}.") and len(place) > len(n) + 1]
        if not (equals and kind and fits):
            raise ValueError(
                f"--kind must be NAME.COLUMN=KIND with one of the modalities {list(files)}, "
                f"got {value!r}"
            )
        name = max(fits, key=len)
        kinds = {**changed[name].kinds, place[len(name) + 1 :]: kind}
        changed[name] = changed[name].replace(kinds=kinds)
    return changed


def covariate_files(
    values: Iterable[str] | None, id_column: str | None, like: Mapping[str, CovariateFile]
) -> dict[str, CovariateFile]:
    """Return where covariates are, by what --covariate NAME=FILE[:COLUMN][,kind=KIND] says.

    Args:
        values: What the options say.
        id_column: What --id says, for all tables.
        like: Covariates of a run or a config, which are kept where they are not named; those that
            are named keep their columns and kinds unless they are given.

    Raises:
        ValueError: For another form.
    """
    found = dict(like)
    for name, text in named_pairs("--covariate", values).items():
        place, *rest = text.split(",kind=")
        path, column = _column_of(place)
        before = like.get(name, CovariateFile())
        try:
            found[name] = CovariateFile(
                path=str(Path(path).expanduser().absolute()),
                column=column or before.column,
                id=id_column or before.id,
                kind=rest[0] if rest else before.kind,  # type: ignore[arg-type]
            )
        except ValueError as error:
            raise ValueError(f"--covariate {name}: {error}") from None
    return found


def without_covariate_columns(files: Files, covariates: Mapping[str, CovariateFile]) -> Files:
    """Return the files with columns ignored that are covariates, where these are of the same table.

    Unless their kind is named.
    """
    changed = dict(files)
    for own in covariates.values():
        for name, file in changed.items():
            is_table = own.path is not None and suffix_of(Path(own.path)) in READ_TABLE_SUFFIXES
            if is_table and own.path == file.path and own.column is not None:
                kinds = {own.column: IGNORE, **file.kinds}
                changed[name] = file.replace(kinds=kinds)
    return changed


def chosen_values(
    values: Iterable[str] | None, codecs: Mapping[str, CovariateCodec]
) -> dict[str, float] | None:
    """Return the values of covariates to generate under, by what --set NAME=VALUE says."""
    return chosen_covariates(codecs, named_pairs("--set", values)) if values else None


def _column_of(text: str) -> tuple[str, str | None]:
    """Return path and column of PATH:COLUMN, of which both may hold colons."""
    if Path(text).expanduser().exists():
        return text, None
    parts = text.split(":")
    for end in range(len(parts) - 1, 0, -1):
        if Path(path := ":".join(parts[:end])).expanduser().exists():
            return path, ":".join(parts[end:]) or None
    return parts[0], ":".join(parts[1:]) or None


def with_named(files: Files, option: str, field: str, values: Iterable[str] | None) -> Files:
    """Return the files with a field set to what an option NAME=VALUE names.

    Raises:
        ValueError: For another form, or an unknown modality.
    """
    named = _known(option, named_pairs(option, values), files)
    return files | {name: files[name].replace(**{field: value}) for name, value in named.items()}


def with_layers(files: Files, values: Iterable[str] | None) -> Files:
    """Return the files with the places that --layer NAME=LAYER says.

    Raises:
        ValueError: As :func:`with_named`, and for a file that cannot be read.
    """
    changed = with_named(files, "--layer", "layer", values)
    for name, file in changed.items():
        before, said = files[name].layer, file.layer
        if said is not None and file.path and before != said and _is_anndata(file.path):
            from cmvae.files.mudata import layer_of_type

            changed[name] = file.replace(layer=layer_of_type(Path(file.path), before, said))
    return changed


def with_reading(files: Files, values: Iterable[str] | None) -> Files:
    """Return the files with what --read NAME.OPTION=VALUE says of how they are read.

    Raises:
        ValueError: For another form, an unknown modality, or a value that is not allowed.
    """
    changed = dict(files)
    for value in values or ():
        place, equals, chosen = value.partition("=")
        name, _, field = place.rpartition(".")
        if not (equals and chosen and name in files and field in READING):
            raise ValueError(
                f"--read must be NAME.OPTION=VALUE with one of the modalities {list(files)} and "
                f"of the options {', '.join(READING)}, got {value!r}"
            )
        own: Any = chosen
        if field == "subfolders":
            if chosen not in ("yes", "no"):
                raise ValueError(f"--read {place} must be yes or no, got {chosen!r}")
            own = chosen == "yes"
        try:
            changed[name] = changed[name].replace(**{field: own})
        except ValueError as error:
            raise ValueError(f"--read {name}.{error}") from None
    return changed


def with_likelihoods(files: Files, values: Iterable[str] | None) -> Files:
    """Return the files with what --likelihood NAME=LIKELIHOOD[,PARAMETER=VALUE] names.

    Raises:
        ValueError: For another form, or an unknown modality.
    """
    changed = dict(files)
    for name, value in _known("--likelihood", named_pairs("--likelihood", values), files).items():
        likelihood, *parameters = value.split(",")
        texts = named_pairs(f"--likelihood {name}", parameters)
        try:
            params: dict[str, Any] = {key: yaml.safe_load(text) for key, text in texts.items()}
        except yaml.YAMLError:
            raise ValueError(f"--likelihood {name}: no YAML values in {value!r}") from None
        changed[name] = changed[name].replace(likelihood=likelihood, likelihood_params=params)
    return changed


def _is_anndata(path: str) -> bool:
    return suffix_of(Path(path)) == ANNDATA_SUFFIX


def _known(option: str, named: dict[str, str], modalities: Iterable[str]) -> dict[str, str]:
    """Return ``named``, or refuse a modality that there is not."""
    unknown = [name for name in named if name not in list(modalities)]
    if unknown:
        known = list(modalities)
        raise ValueError(f"{option} names unknown modalities {unknown}; there are {known}")
    return named


def _yaml_files(path: Path) -> Files:
    """Return the modalities of a YAML file that names them and nothing else."""
    content = read_yaml(path)
    if isinstance(content, Mapping) and set(content) - {"modalities"}:
        raise ValueError(
            f"{path}: expected 'modalities' alone, got {list(content)}; settings are for --config"
        )
    files = RunConfig.make(content, str(path)).modalities
    return {name: file.resolved(path.parent) for name, file in files.items()}

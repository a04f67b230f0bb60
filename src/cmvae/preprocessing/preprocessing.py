"""From the rows of each modality to a model's inputs: learned once, kept, applied to other rows."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from cmvae.base.arrays import BEYOND_FLOAT32
from cmvae.base.settings import Name, Settings
from cmvae.base.words import SHOWN, listed, quoted, raise_all, shown
from cmvae.files.cell_places import CellRows
from cmvae.files.images import measure_bits, measure_images
from cmvae.files.join import JoinedRows
from cmvae.files.modality import ModalityFile
from cmvae.files.pixels import used_bits
from cmvae.files.spool import NumberedRows
from cmvae.preprocessing.arrays import ArrayCodec, ImageCodec
from cmvae.preprocessing.cells import CellCodec
from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.covariates import CovariateCodec, encode_covariates
from cmvae.preprocessing.identifiers import identifying
from cmvae.preprocessing.kinds import (
    KINDS,
    as_frame,
    column_kinds,
    constants,
    kind_notes,
    without,
)
from cmvae.preprocessing.libraries import as_pandas
from cmvae.preprocessing.matching import numbers_from_zero, without_cells
from cmvae.preprocessing.sampling import TableSample
from cmvae.preprocessing.tables import IGNORE, LIKELIHOOD_KINDS, TableCodec
from cmvae.preprocessing.texts import TextCodec, Tokenizer, are_sentences
from cmvae.preprocessing.transforms import are_shares
from cmvae.preprocessing.understanding import ModalitySummary, summarise
from cmvae.preprocessing.variation import check_variation
from cmvae.preprocessing.words import WordCodec, are_words

if TYPE_CHECKING:
    from cmvae.data.datasets import IncompleteDataset

TEXT = "text"
SENTENCES = "holds sentences: taken as text (its kind category takes each as a value)"
CHUNK_BYTES = 1 << 25
MOST_ROWS = 8192

AnyCodec = Annotated[
    TableCodec | WordCodec | TextCodec | ImageCodec | ArrayCodec | CellCodec,
    Field(discriminator="type"),
]


class Preprocessing(Settings):
    """How the rows of each modality become a model's inputs.

    Attributes:
        codecs: Modality to codec, in the model's order.
        understood: Modality to what was understood of the rows learned from.
        covariates: What was learned of each covariate, by name.

    Example:
        >>> import numpy as np
        >>> learned = Preprocessing.learn({"a": np.arange(6.0).reshape(3, 2)})
        >>> learned.settings["input_dims"]
        {'a': (2,)}
        >>> Preprocessing.from_json(learned.to_json()) == learned
        True
    """

    codecs: Annotated[dict[Name, AnyCodec], Field(min_length=1)]
    understood: dict[Name, ModalitySummary] = Field(default_factory=dict)
    covariates: dict[Name, CovariateCodec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if unknown := [name for name in self.understood if name not in self.codecs]:
            raise ValueError(f"understood names unknown modalities {unknown[:SHOWN]}")
        return self

    @classmethod
    def learn(
        cls,
        rows: Mapping[str, Any],
        options: Mapping[str, ModalityFile] | None = None,
        samples: Mapping[str, TableSample] | None = None,
    ) -> Self:
        """Learn from the rows of each modality, as :func:`learn_codec` takes them.

        Args:
            rows: Modality to its rows.
            options: Modality to how its rows are to be read.
            samples: Modality to what its rows were drawn from, where they are not all.

        A modality that no sample has is left out, with a warning; so are, of tables, columns that
        hold one value alone. Of arrays these are kept, with a warning.

        Raises:
            ValueError, TypeError, KeyError: For what cannot be read, all of it at once.
        """
        rows = {name: as_pandas(own) for name, own in rows.items()}
        empty = [name for name, own in rows.items() if is_empty(own)]
        if len(empty) == len(rows):
            paths = [own.path for name, own in (options or {}).items() if name in empty]
            where = f" ({', '.join(filter(None, paths))})" if any(paths) else ""
            raise ValueError(
                f"no sample has any of the modalities {empty}{where}: there are no rows, or all of "
                "their cells are missing"
            )
        if empty:
            warnings.warn(f"modalities {empty} are left out: no sample has them", stacklevel=2)
        codecs, understood, errors = {}, {}, []
        for name, own in rows.items():
            if name in empty:
                continue
            try:
                given = (options or {}).get(name, ModalityFile())
                drawn = (samples or {}).get(name)
                codecs[name], understood[name] = learn_modality(own, name, given, drawn)
            except (ValueError, TypeError, KeyError) as error:
                errors.append(error)
        raise_all(errors)
        named = {name: own.kinds for name, own in (options or {}).items()}
        check_variation({name: rows[name] for name in codecs}, named)
        return cls(codecs=codecs, understood=understood)  # type: ignore[arg-type]

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of ``CMVAEConfig`` that follow from the data."""
        return {"n_modalities": len(self.codecs), **self.model_settings()}

    def model_settings(
        self,
        options: Mapping[str, ModalityFile] | None = None,
        scale: float | str = "learned",
    ) -> dict[str, Any]:
        """Return shapes and likelihoods, as ``CMVAEConfig`` takes them."""
        likelihoods = self.likelihoods(options, scale)
        sizes = {name: own.size for name, own in self.covariates.items()}
        return {
            **({"covariates": sizes} if sizes else {}),
            "input_dims": self.input_dims,
            "decoders_dist": {name: dist for name, (dist, _) in likelihoods.items()},
            "decoder_dist_params": {name: params for name, (_, params) in likelihoods.items()},
        }

    @property
    def input_dims(self) -> dict[str, tuple[int, ...]]:
        """Modality to input shape."""
        return {name: codec.input_shape for name, codec in self.codecs.items()}

    @property
    def numbers(self) -> dict[str, list[str]]:
        """Modality to what each of its numbers is; none of what is no table."""
        return {name: codec.names for name, codec in self.codecs.items()}

    @property
    def n_columns(self) -> int:
        """How many numbers a sample's vectors have, of all modalities together; 1 at least."""
        return max(1, sum(shape[0] for shape in self.input_dims.values() if len(shape) == 1))

    def likelihoods(
        self,
        options: Mapping[str, ModalityFile] | None = None,
        scale: float | str = "learned",
    ) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return the likelihood of each modality, its name and its parameters.

        Raises:
            ValueError: For one that does not fit, naming the modality.
        """
        found, errors = {}, []
        for name, codec in self.codecs.items():
            own = (options or {}).get(name, ModalityFile())
            try:
                found[name] = codec.likelihood(own.likelihood, own.likelihood_params, scale)
            except ValueError as error:
                errors.append(ValueError(f"modality {name!r}: {error}"))
        raise_all(errors)
        return found

    def codec(self, modality: str) -> Codec:
        """Return the codec of a modality; ``KeyError`` for one that was not learned."""
        if modality not in self.codecs:
            raise KeyError(
                f"unknown modality {shown(modality)}; fitted were [{quoted(self.codecs)}]"
            )
        return self.codecs[modality]

    def restore(self, modality: str, values: Any) -> Any:
        """Return a model's values of a modality, means or draws, in the units of the data.

        Args:
            modality: Its name.
            values: (n, *), as ``CMVAE.to_data`` returns them.

        Raises:
            KeyError: For an unknown modality.
        """
        return self.codec(modality).readable(np.asarray(values))

    def dataset(self, rows: JoinedRows, labels: Any = None) -> "IncompleteDataset":
        """Return joined samples as a dataset; bytes stay bytes, and sparse values sparse.

        Missing cells, NaN, are told by its ``cells``. What is read later is read then.
        """
        from cmvae.data.datasets import IncompleteDataset
        from cmvae.data.stored import CellsReadLater, RowsReadLater

        late = {name for name, own in rows.data.items() if isinstance(own, NumberedRows)}
        data = {
            name: RowsReadLater(own) if name in late else self.codecs[name].stored(own)
            for name, own in rows.data.items()
        }
        cells = {
            name: CellsReadLater(own) if name in late else own for name, own in rows.cells().items()
        }
        known = encode_covariates(self.covariates, rows.covariates) or None
        return IncompleteDataset(data, rows.masks, labels, cells, known)

    @property
    def chunk_rows(self) -> int:
        """How many samples are worked on at a time."""
        return self._rows(MOST_ROWS)

    @property
    def read_rows(self) -> int:
        """How many rows are read at a time: more, as each part of a table costs some time."""
        return self._rows(4 * MOST_ROWS)

    def _rows(self, most: int) -> int:
        largest = max(4 * int(np.prod(shape)) for shape in self.input_dims.values())
        return max(1, min(most, CHUNK_BYTES // largest))


def is_empty(rows: Any) -> bool:
    """Tell whether a table or an array has no cells that are there."""
    return isinstance(rows, pd.DataFrame | np.ndarray) and bool(np.all(pd.isna(rows)))


def learn_codec(rows: Any, modality: str, options: ModalityFile | None = None) -> Codec:
    """Learn how the rows of a modality become numbers.

    Args:
        rows: A DataFrame, whose columns are of the kinds that their values show; an array (n,) or
            (n, columns), whose columns are numbers unless ``options.kinds`` says otherwise; either,
            where neither kinds nor a likelihood are chosen and the rows are words
            (:func:`cmvae.preprocessing.words.are_words`) or shares, as such; bytes
            (n, H, W), (n, C, H, W) or (n, H, W, C), which are images; another array (n, *); paths
            of images; or :class:`cmvae.files.cell_places.CellRows`.
        modality: Name for the errors.
        options: How they are to be read.

    Raises:
        KeyError: For kinds of columns that are not there.
        ValueError: For unknown kinds, kinds of what is no table, and what a codec refuses.
        TypeError: For what is no number where numbers are needed.
    """
    return learn_modality(rows, modality, options or ModalityFile())[0]


@BEYOND_FLOAT32
def learn_modality(
    rows: Any, modality: str, options: ModalityFile, drawn: TableSample | None = None
) -> tuple[Codec, ModalitySummary]:
    """Learn as :func:`learn_codec` does, and say what was understood.

    ``drawn`` is what the rows were drawn from, where they are not all.
    """
    rows = as_pandas(rows)
    is_array = isinstance(rows, np.ndarray)
    if isinstance(rows, pd.DataFrame | pd.Series) or (is_array and rows.ndim <= 2):
        frame = as_frame(rows, modality)
        of = None if drawn is None else drawn.rows_seen
        table, notes = _learn_table(rows, frame, options, modality, of)
        summary = summarise(frame, table.describe(), table.kinds, notes)
        return (table, summary) if drawn is None else drawn.corrected(table, summary)
    codec, more = _learn_other(rows, modality, options)
    return codec, summarise(rows, codec.describe() + more, {}, {})


def _learn_other(rows: Any, modality: str, options: ModalityFile) -> tuple[Codec, str]:
    """Learn from what is no table; return what is to be said beside the codec's own words too."""
    is_array = isinstance(rows, np.ndarray)
    if options.kinds:
        got = "images" if isinstance(rows, list) else type(rows).__name__
        raise ValueError(f"modality {modality!r}: kinds are for the columns of tables, got {got}")
    if isinstance(rows, CellRows):
        return CellCodec.learn(rows, modality, options.likelihood), ""
    if isinstance(rows, list) and all(isinstance(path, Path) for path in rows):
        bits = measure_bits(rows, modality, options.depth)
        measured = measure_images(rows, modality)
        codec = ImageCodec.learn(measured, options.size, bits)
        return codec, measured.scaled_to(*codec.shape[1:])
    if not is_array or rows.dtype.kind not in "biuf":
        got = f"an array of {rows.dtype}" if is_array else type(rows).__name__
        raise TypeError(f"modality {modality!r}: expected real numbers, got {got}")
    if rows.dtype in (np.uint8, np.uint16) and rows.ndim == 4:
        bits = 16 if rows.dtype == np.uint16 and options.depth == "full" else used_bits(rows)
        return ImageCodec(shape=rows.shape[1:], bits=bits), ""
    return ArrayCodec.learn(rows, modality), ""


def _learn_table(
    table: Any, frame: pd.DataFrame, options: ModalityFile, modality: str, of: int | None = None
) -> tuple[TableCodec | WordCodec | TextCodec, dict[str, str]]:
    """Learn from a table and the frame that it is; return what is said of columns too.

    ``of`` is the number of rows that these were drawn from.
    """
    _check_options(frame, options, modality)
    kinds, chosen = options.kinds, options.likelihood
    ignored = tuple(column for column, kind in kinds.items() if kind == IGNORE)
    frame = frame[[column for column in frame if str(column) not in ignored]]
    gone = dict.fromkeys(without_cells(frame), "holds nothing")
    whole, frame = frame, without(frame, gone, modality)
    named = {column: kinds[str(column)] for column in frame if str(column) in kinds}
    notes = {} if chosen or named else _sentences(frame)
    if TEXT in kinds.values() or notes:
        texts = _learn_text(frame, (*ignored, *map(str, gone)), modality)
        return texts, _by_name(gone | notes)
    implied = LIKELIHOOD_KINDS.get(chosen or "")
    plain = list(frame) if implied else list(named)
    implied = implied or ("continuous" if isinstance(table, np.ndarray) else None)
    gone |= {} if implied else identifying(frame, named, of)
    frame = without(whole, gone, modality)
    numbers = None if chosen or named else numbers_from_zero(frame)
    if numbers is not None and are_words(numbers):
        left_out = (*ignored, *map(str, gone))
        return WordCodec.learn(frame, modality, left_out), _by_name(gone)
    if implied is None and numbers is not None and are_shares(numbers):
        implied = "continuous"
    if not implied:
        gone |= constants(frame, named)
        frame = without(whole, gone, modality)
    given = {**(dict.fromkeys(frame, implied) if implied else {}), **named}
    found = column_kinds(frame, given, modality)
    free = {n: kind for n, kind in zip(frame, found, strict=True) if n not in given}
    codec = TableCodec.learn(frame, found, modality, (*ignored, *map(str, gone)), plain)
    return codec, _by_name(gone) | kind_notes(frame, free)


def _check_options(frame: pd.DataFrame, options: ModalityFile, modality: str) -> None:
    """Refuse kinds of columns that are not there, unknown kinds and unknown likelihoods."""
    kinds, chosen, where = options.kinds, options.likelihood, f"modality {modality!r}"
    names = list(map(str, frame))
    unknown = sorted(set(kinds) - set(names))
    if unknown:
        known = f"it has {listed(names, 2 * SHOWN)}"
        raise KeyError(f"{where}: kinds of unknown columns {unknown[:SHOWN]}; {known}")
    wrong = [kind for kind in kinds.values() if kind not in (*KINDS, IGNORE, TEXT)]
    if wrong:
        allowed = ", ".join((*KINDS, TEXT, IGNORE))
        raise ValueError(f"{where}: unknown kinds {wrong}; allowed: {allowed}")
    if chosen is not None and chosen not in (*LIKELIHOOD_KINDS, "mixed"):
        allowed = quoted((*LIKELIHOOD_KINDS, "mixed"))
        raise ValueError(f"{where}: likelihood must be one of {allowed}, got {shown(chosen)}")


def _sentences(frame: pd.DataFrame) -> dict[Any, str]:
    """Return what is said of the only column of a table, where it holds sentences."""
    alone = len(frame.columns) == 1 and are_sentences(frame.iloc[:, 0])
    return dict.fromkeys(frame, SENTENCES) if alone else {}


def _learn_text(frame: pd.DataFrame, ignored: tuple[str, ...], modality: str) -> TextCodec:
    """Learn the words of a table of one column."""
    if len(frame.columns) > 1:
        got = list(frame)[:SHOWN]
        raise ValueError(f"modality {modality!r}: a modality of texts has one column, got {got}")
    (column,) = frame
    words = Tokenizer.fit(frame[column].dropna().astype(str))
    return TextCodec(column=str(column), tokenizer=words, ignored=ignored)


def _by_name(reasons: Mapping[Any, str]) -> dict[str, str]:
    return {str(name): reason for name, reason in reasons.items()}

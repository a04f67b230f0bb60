"""The endings of the files that are read and written."""

from pathlib import Path

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
READ_TABLE_SUFFIXES = (*TABLE_SUFFIXES, ".txt", ".feather", ".arrow", ".xlsx")
ARRAY_SUFFIXES = (".npy", ".npz")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
MUDATA_SUFFIX = ".h5mu"
ANNDATA_SUFFIX = ".h5ad"
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")


def suffix_of(path: Path) -> str:
    """Return the ending of a file in lower case, that of a compressed text without the packing.

    Example:
        >>> suffix_of(Path("Export.CSV")), suffix_of(Path("a.tsv.gz"))
        ('.csv', '.tsv')
    """
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in COMPRESSED else last

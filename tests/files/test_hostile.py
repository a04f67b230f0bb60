"""Files made to be run, to exhaust memory, or to read others: refused by name."""

import gzip
import os
import pickle
import resource
import subprocess
import zipfile
import zlib
from struct import pack

import h5py
import numpy as np
import pandas as pd
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from cmvae.files import open_source
from cmvae.files.modality import ModalityFile

N = 12


def read(path, **options):
    """Read a file as a modality, all of it."""
    source = open_source("m", ModalityFile(path=str(path), **options))
    return source.ids(), source.read()


def refuse(path, message, megabytes=250, **options):
    """Check that a file is refused in a line that names it, and in little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message) as found:
        read(path, **options)
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 1200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1000 * megabytes


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.fixture
def cells(tmp_path):
    """An .h5ad file that is well, closed."""
    anndata = pytest.importorskip("anndata")
    names = [pd.Index([f"{own}{i}" for i in range(N)], dtype=object) for own in "sg"]
    tables = [pd.DataFrame(index=own) for own in names]
    path = tmp_path / "m.h5ad"
    anndata.AnnData(np.ones((N, N), np.float32), *tables).write_h5ad(path)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_text_bombs(tmp_path, packed):
    path = tmp_path / "m.csv.gz"
    member = gzip.compress(b"s,1,2\n" * 500_000)
    path.write_bytes(gzip.compress(b"id,x,y\n") + member * 200)
    options = {"encoding": "utf-8"} if packed else {}
    refuse(path, "holds more than 100 times", **options)


def test_array_bombs(tmp_path):
    head = {"descr": "<f8", "fortran_order": False, "shape": (1 << 24, 8)}
    with (
        zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("x.npy", "w") as own,
    ):
        np.lib.format.write_array_header_1_0(own, head)
        for _ in range(128):
            own.write(b"\0" * (1 << 23))
    refuse(tmp_path / "m.npz", "holds more than 100 times")


@pytest.mark.parametrize("shape", ["(9999999999999, 3)", "(-4, 3)", "(4, -3)", "__import__('os')"])
def test_headers_of_arrays_that_lie(tmp_path, shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path = tmp_path / "m.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + pack("<H", len(text)) + text.encode() + b"\0" * 99)
    refuse(path, "not a readable array: it is damaged")


def test_members_that_are_no_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as file:
        file.writestr("x.npy", pickle.dumps(Payload()))
    refuse(tmp_path / "m.npz", "not a readable array: it holds something else than arrays")
    assert not os.path.exists("executed")


def test_images_are_no_programs(tmp_path, monkeypatch):
    """Pillow has Ghostscript run what is PostScript, whatever a file's ending says."""

    def run(*_, **__):
        raise AssertionError("a program is run")

    monkeypatch.setattr(subprocess, "Popen", run)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    )
    from cmvae.files.images import measure_images, read_image

    with pytest.raises(ValueError, match=r"broken image .*b\.png"):
        measure_images([tmp_path / "b.png"], "m")
    with pytest.raises(ValueError, match=r"broken image .*b\.png"):
        read_image(tmp_path / "b.png", (3, 4, 4), "m")


def test_image_bombs(tmp_path):
    def chunk(kind, content):
        return pack(">I", len(content)) + kind + content + pack(">I", zlib.crc32(kind + content))

    path = tmp_path / "b.png"
    head = chunk(b"IHDR", pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * (9000 * 3 + 1) * 9000, 1))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))
    from cmvae.files.images import read_image

    with pytest.raises(ValueError, match=r"b\.png holds more than 100 times"):
        read_image(path, (3, 4, 4), "m")


@pytest.mark.parametrize("kind", ["pipe", "loop"])
def test_what_is_no_image_but_called_so(tmp_path, kind):
    folder = tmp_path / "i"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    (folder / "more").symlink_to(tmp_path)  # a folder, which is passed over
    os.mkfifo(folder / "b.png") if kind == "pipe" else (folder / "b.png").symlink_to("b.png")
    refuse(folder, r"b\.png is neither a file nor a folder")


def test_a_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "m.csv")
    refuse(tmp_path / "m.csv", "neither a file nor a folder")


@pytest.mark.parametrize("path", ["a\0b.csv", "x" * 256 + "/a.csv", "ä" * 130])
def test_paths_that_no_file_has(path):
    with pytest.raises(ValueError, match="path must be a path of names of at most 255 bytes"):
        ModalityFile(path=path)


def test_a_line_of_nothing_but_commas(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"," * 20_000_000)
    refuse(tmp_path / "m.csv", "has at most 1000000 columns")


@pytest.mark.parametrize(
    "words",
    [
        b'{"index_columns": [5], "columns": 3}',
        b'{"index_columns": [{"kind": "range"}], "columns": []}',
        b"\xff{",
    ],
)
def test_what_pandas_keeps_in_a_table_may_lie(tmp_path, words):
    table = pyarrow.table({"id": ["a", "b"], "x": [1, 2]})
    parquet.write_table(table.replace_schema_metadata({b"pandas": words}), tmp_path / "m.parquet")
    refuse(tmp_path / "m.parquet", "not a readable .parquet table: it is damaged")


def test_many_rows_in_few_bytes(tmp_path):
    table = pyarrow.table({"id": [7] * 3_000_000, "x": [1.5] * 3_000_000})
    parquet.write_table(table, tmp_path / "m.parquet")
    refuse(tmp_path / "m.parquet", "holds more than 100 times", megabytes=60)


@pytest.mark.parametrize("head", ['<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', "<"])
def test_sheets_that_are_no_xml(tmp_path, head):
    pd.DataFrame({"id": ["a"], "x": [1]}).to_excel(tmp_path / "good.xlsx", index=False)
    with (
        zipfile.ZipFile(tmp_path / "good.xlsx") as good,
        zipfile.ZipFile(tmp_path / "m.xlsx", "w") as bad,
    ):
        for name in good.namelist():
            text = good.read(name)
            if "sheet1" in name:
                text = head.encode() + text.replace(b">id<", b">&e;<")
            bad.writestr(name, text.replace(b">id<", b">&e;<"))
    refuse(tmp_path / "m.xlsx", "not an .xlsx file that can be read")


def test_bombs_of_sheets(tmp_path):
    pd.DataFrame({"id": ["a"], "x": [1]}).to_excel(tmp_path / "m.xlsx", index=False)
    with zipfile.ZipFile(tmp_path / "m.xlsx", "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/more.xml", b"\0" * (1 << 26))
    refuse(tmp_path / "m.xlsx", "holds more than 100 times")


def matrix(change):
    def apply(file, folder):
        del file["X"]
        change(file, folder)

    return apply


def external(file, folder):
    (folder / "other.txt").write_text("secret" * 200)
    other = [(str(folder / "other.txt"), 0, N * N)]
    file.create_dataset("X", (N, N), "u1", external=other)


def virtual(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["X"] = np.ones((N, N))
    layout = h5py.VirtualLayout((N, N), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "X", (N, N))
    file.create_virtual_dataset("X", layout)


def linked(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["X"] = np.ones((N, N))
    file["X"] = h5py.ExternalLink("other.h5", "/X")


def sparse(bounds, columns, kind="csr_matrix"):
    def write(file, _):
        own = file.create_group("X")
        own.attrs.update({"encoding-type": kind, "encoding-version": "0.1.0", "shape": (N, N)})
        own["data"], own["indices"], own["indptr"] = [1.0] * N, columns, bounds

    return matrix(write)


def huge(file, _):
    file.create_dataset("X", (N, 10**9), "f4", chunks=(N, 100))


def many_names(file, _):
    attributes = dict(file["obs/_index"].attrs)
    del file["obs/_index"]
    names = file["obs"].create_dataset("_index", (10**9,), h5py.string_dtype(), chunks=(99,))
    names.attrs.update(attributes)


STEPS = list(range(N + 1))
CELLS = [
    (matrix(external), "X lies in other files, which are not read"),
    (matrix(virtual), "X lies in other files, which are not read"),
    (matrix(linked), "X is a link to another file, which is not read"),
    (sparse([0, 10**9] + [0] * (N - 1), [0] * N), "its rows end where it has no numbers"),
    (sparse([5, 0] * (N // 2) + [2], [0] * N), "its rows end where it has no numbers"),
    (sparse([-1, *STEPS[1:]], [0] * N), "its rows end where it has no numbers"),
    (sparse(STEPS[:-1], [0] * N), "its rows end where it has no numbers"),
    (sparse(STEPS, [N] * N), f"numbers beyond its {N} names"),
    (sparse(STEPS, [-1] * N), f"numbers beyond its {N} names"),
    (sparse(STEPS, [N] * N, "csc_matrix"), f"numbers beyond its {N} names"),
    (sparse([5, 0] * (N // 2) + [2], [0] * N, "csc_matrix"), "its rows end where it has no"),
    (matrix(huge), f"a matrix .* for {N} cells"),
    (many_names, "holds more than 100 times"),
    (lambda file, _: file["obs"].attrs.clear(), "it is damaged"),
    (lambda file, _: file["obs"].attrs.__setitem__("_index", 5), "it is damaged"),
]


@pytest.mark.parametrize(("change", "message"), CELLS)
def test_cells_that_lie(cells, tmp_path, change, message):
    with h5py.File(cells, "a") as file:
        change(file, tmp_path)
    refuse(cells, message)


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix"])
def test_sparse_matrices_are_read_as_they_are(cells, tmp_path, kind):
    with h5py.File(cells, "a") as file:
        sparse(STEPS, STEPS[:-1][::-1], kind)(file, tmp_path)
    ids, rows = read(cells)
    assert len(ids) == N
    np.testing.assert_array_equal(rows.values.toarray(), np.eye(N)[::-1])

import pytest

from cmvae.files.modality import ModalityFile


def test_relative_paths_are_taken_from_a_folder(tmp_path):
    file = ModalityFile(path="a.npy", ids="ids.txt", kinds={"0": "count"})
    assert file.resolved(tmp_path) == ModalityFile(
        path=str(tmp_path / "a.npy"), ids=str(tmp_path / "ids.txt"), kinds={"0": "count"}
    )
    absolute = ModalityFile(path=str(tmp_path / "b.csv"))
    assert absolute.resolved(tmp_path / "other") == absolute
    assert ModalityFile(kinds={"x": "count"}).resolved(tmp_path) == ModalityFile(
        kinds={"x": "count"}
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": ""}, "path must be a name, not empty, got ''"),
        ({"path": 3}, "path must be a name, not empty, got 3"),
        ({"kinds": {"x": 3}}, "kinds.x must be a string, got 3"),
        ({"kinds": ["x"]}, "kinds must be a mapping"),
        ({"size": (0, 4)}, r"size\.0 must be a positive integer, got 0"),
        ({"size": 4}, "size must be a list, got 4"),
        ({"layer": 1, "id": 2}, "id must be a string, got 2; layer must be a string, got 1"),
    ],
)
def test_what_is_no_place_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ModalityFile(**fields)

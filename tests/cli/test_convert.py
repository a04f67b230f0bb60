import cmvae
import made_multivae as made
from made_files import refused, run


def test_a_model_of_multivae_is_converted(tmp_path):
    folder = made.write(tmp_path / "old", state=made.weights(made.PRUNED))
    status, out, err = run("convert", folder, "--out", tmp_path / "new")
    assert (status, err) == (0, "")
    assert "2 modalities (a, b), 4 of 6 clusters active" in out
    assert "CMVAE.from_pretrained" in out
    model = cmvae.CMVAE.from_pretrained(tmp_path / "new")
    wanted = cmvae.multivae.convert(folder)
    assert model.predict_clusters(made.data()).clusters.tolist() == (
        wanted.predict_clusters(made.data()).clusters.tolist()
    )
    refused("holds a model; pass --overwrite", "convert", folder, "--out", tmp_path / "new")
    assert run("convert", folder, "--out", tmp_path / "new", "--overwrite")[0] == 0


def test_what_cannot_be_converted_is_told_in_one_line(tmp_path):
    other = made.write(tmp_path / "other", made.settings(name="JMVAEConfig"))
    refused("this is a JMVAE of MultiVae", "convert", other, "--out", tmp_path / "new")
    state = {n: own for n, own in made.weights().items() if not n.startswith("encoders")}
    custom = made.write(tmp_path / "custom", state={**state, "encoders.a.mine": made.waves(2)})
    refused("pass encoders={modality: network}", "convert", custom, "--out", tmp_path / "new")
    refused("no such file", "convert", tmp_path / "nowhere", "--out", tmp_path / "new")
    refused("holds something else", "convert", other, "--out", other)
    assert not (tmp_path / "new").exists()

import subprocess
import sys

import cmvae

HEAVY = {
    "lightning",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
    "typer",
    "huggingface_hub",
    "pyarrow",
}
HEAVY |= {"mlxtend", "skimage", "PIL", "diffusers"}


def loaded_after(code):
    program = f"import sys\n{code}\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_models_and_data_load_nothing_heavy():
    names = (
        "CMVAE, CMVAEConfig, BaseDecoder, BaseMultilatentEncoder, ModelOutput, IncompleteDataset"
    )
    names += ", DCMVAE, DiffusionConfig, DiffusionDecoder"
    before = loaded_after("import torch")
    assert not (loaded_after(f"from cmvae import {names}") - before) & HEAVY


def test_every_public_name_is_found_and_listed():
    assert set(cmvae.__all__) == set(cmvae._HOMES)
    for name in cmvae.__all__:
        assert getattr(cmvae, name).__name__ == name
    assert set(cmvae.__all__) <= set(dir(cmvae))


def test_names_of_the_contract():
    from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
    from cmvae.models import CMVAE, CMVAEConfig

    assert (cmvae.CMVAE, cmvae.CMVAEConfig) == (CMVAE, CMVAEConfig)
    assert (cmvae.IncompleteDataset, cmvae.MultimodalBaseDataset) == (
        IncompleteDataset,
        MultimodalBaseDataset,
    )

import pytest
import torch

from cmvae.networks.build import build_encoder
from cmvae.networks.cells import CellEncoder


def test_a_complete_sample_is_encoded_as_by_the_encoder_alone():
    torch.manual_seed(0)
    encoder, x = build_encoder((4,), 3, 2, "normal", sees_cells=True), torch.randn(5, 4)
    assert isinstance(encoder, CellEncoder)
    whole = encoder(x, torch.ones(5, 4, dtype=torch.bool))
    inner = encoder.encoder(torch.cat([x, torch.zeros(5, 4)], -1))
    for name, value in inner.items():
        torch.testing.assert_close(whole[name], value, rtol=0, atol=0)
        torch.testing.assert_close(encoder(x)[name], value, rtol=0, atol=0)
    cells = torch.ones(5, 4, dtype=torch.bool)
    cells[2, 1] = False
    changed = (encoder(x, cells).embedding != whole.embedding).any(1)
    assert changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("shape", "likelihood"), [((3, 8, 8), "normal"), ((6, 4), "categorical"), ((4,), "categorical")]
)
def test_what_is_no_vector_of_cells_is_refused(shape, likelihood):
    with pytest.raises(ValueError, match="only vectors may lack single cells"):
        build_encoder(shape, 3, 2, likelihood, sees_cells=True)

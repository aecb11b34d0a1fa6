"""A network looked at with fake tensors, which have shapes only, still works on real ones afterwards."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from aliasfree import AliasFreeUNet2DModel
from aliasfree.filters import BELOW_NYQUIST
from aliasfree.models import unet
from aliasfree.nn import blocks, frame, preconditioning
from aliasfree.ops import plain, radial, upsample2d

TABLES = (
    blocks._inverse_frequencies, frame._unmoved_features, preconditioning._constants, unet._alphas_cumprod,
    radial._disc, radial._gaussians, radial._window, plain.axis_matrices, plain._phase_kernels, plain._spectral_gain,
)  # fmt: skip


@pytest.fixture(autouse=True)
def cold_tables():
    for table in TABLES:
        table.cache_clear()


@pytest.mark.parametrize("config", ["A", "T", "R"])
def test_no_table_of_a_network_stays_fake(config):
    model = AliasFreeUNet2DModel(config, 16, 1, 1, 4, preconditioning="spectral", frame_features=1).eval()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        assert model(torch.empty(1, 1, 16, 16), torch.tensor([5])).sample.shape == (1, 1, 16, 16)
    with torch.no_grad():
        found = model(torch.randn(1, 1, 16, 16), 5).sample
    assert type(found) is torch.Tensor
    assert found.isfinite().all()


@pytest.mark.parametrize("spec", ["hq", BELOW_NYQUIST], ids=str)
@pytest.mark.parametrize("n", [8, plain.MATRIX_LIMIT + 8])
def test_no_table_of_the_ops_stays_fake(spec, n):
    with FakeTensorMode():
        upsample2d(torch.empty(1, 1, n, n), spec, backend="torch")
    assert type(upsample2d(torch.randn(1, 1, n, n), spec, backend="torch")) is torch.Tensor

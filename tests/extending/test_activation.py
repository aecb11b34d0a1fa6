"""An activation is added by one registration; without a formula in the kernels it takes the plain path, and says so."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from aliasfree.errors import BackendError, ConfigError
from aliasfree.ops import explain, filtered_activation2d, filtered_activation2d_reference, pointwise
from aliasfree.ops.pointwise import register_activation


@pytest.fixture
def mish():
    register_activation("mish", F.mish, lambda g, x: torch.ops.aten.mish_backward(g, x))
    yield
    del pointwise._ACTIVATIONS["mish"]


def test_it_runs_by_its_name_and_explain_says_without_a_kernel(mish):
    x = torch.randn(1, 2, 8, 8)
    torch.testing.assert_close(
        filtered_activation2d(x, "mish", "hq"), filtered_activation2d_reference(x, F.mish, "hq"), rtol=1e-5, atol=1e-5
    )
    assert "not numba: it knows no activation but" in str(explain("filtered_activation2d", x, "mish", "hq"))
    with pytest.raises(BackendError, match="knows no activation"):
        filtered_activation2d(x, "mish", "hq", backend="numba")


def test_what_is_no_activation_is_refused_when_it_is_registered():
    with pytest.raises(ConfigError, match="not g times the slope"):
        register_activation("wrong", torch.tanh, lambda g, x: g)
    with pytest.raises(ConfigError, match="already"):
        register_activation("relu", torch.relu, lambda g, x: g * (x > 0))
    with pytest.raises(ConfigError, match="cannot be computed"):
        register_activation("broken", lambda x: x.no_such_method(), lambda g, x: g)
    with pytest.raises(TypeError):
        pointwise.ACTIVATIONS["direct"] = None

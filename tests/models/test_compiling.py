"""Compiling a network in place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aliasfree.errors import ArgumentError
from aliasfree.models.compiling import compile_network
from aliasfree.nn import FilteredActivation2d


def small() -> nn.Sequential:
    from aliasfree.filters import FilterSpec

    torch.manual_seed(0)
    spec = FilterSpec.named("hq")
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), FilteredActivation2d("gelu", spec, spec), nn.Conv2d(4, 1, 1))


@pytest.mark.slow
def test_a_compiled_network_keeps_its_keys_outputs_and_gradients():
    plain, compiled = small(), small()
    compile_network(compiled, "cpu")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 1, 8, 8)
    gradients = []
    for network in (plain, compiled):
        y = network(x)
        y.square().sum().backward()
        gradients.append((y.detach(), network[0].weight.grad))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_without_a_c_compiler_a_cpu_is_told_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    network = small()
    with pytest.raises(ArgumentError, match=r"install g\+\+, or leave it out"):
        compile_network(network, "cpu")
    network(torch.randn(1, 1, 8, 8))  # left as it was

"""What looks at the ops instead of running them: traces, compilers, torch.func, fake and meta tensors; and gradients
with respect to angles, shifts and factors."""

from __future__ import annotations

import io

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, jvp, vmap

from aliasfree import (
    AliasFreeUNet2DModel,
    downsample2d,
    filtered_activation2d,
    rotate2d,
    translate2d,
    upsample2d,
    zoom2d,
)
from aliasfree.errors import ArgumentError, BackendError, ShapeError
from aliasfree.ops import plain

METHODS = ("fourier", "spline", "bicubic")


class Net(torch.nn.Module):
    def __init__(self, activation="silu") -> None:
        super().__init__()
        self.conv, self.activation = torch.nn.Conv2d(2, 3, 3, padding=1), activation

    def forward(self, x):
        return downsample2d(filtered_activation2d(upsample2d(self.conv(x), "hq"), self.activation, "hq"), "hq")


# traces and compilers


def test_a_trace_runs_on_other_sizes_and_dtypes():
    net, x = Net().eval(), torch.randn(1, 2, 8, 8)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, x), buffer)
    buffer.seek(0)
    traced = torch.jit.load(buffer)
    for other in (x, torch.randn(2, 2, 12, 10)):
        assert torch.allclose(traced(other), net(other), atol=1e-5)
    assert torch.allclose(traced.double()(x.double()).float(), net(x), atol=1e-5)
    assert traced.to(torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("activation", ["silu", torch.nn.functional.mish])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_compiles_cold(activation, dtype):
    torch._dynamo.reset()
    net = Net(activation).to(dtype)
    plain.axis_matrices.cache_clear()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    x = torch.randn(1, 2, 8, 8, dtype=dtype)
    found = compiled(x)
    assert torch.allclose(found, net(x), atol=1e-5)


def test_a_backend_asked_for_by_name_is_what_a_compiled_op_runs():
    torch._dynamo.reset()
    x = torch.randn(1, 2, 8, 8)
    fn = torch.compile(lambda v: upsample2d(v, "hq", backend="torch"), backend="aot_eager", fullgraph=True)
    assert torch.equal(fn(x), upsample2d(x, "hq", backend="torch"))


# torch.func


@pytest.mark.parametrize("op", [lambda v: upsample2d(v, "hq"), lambda v: filtered_activation2d(v, "silu", "hq"),
                                lambda v: rotate2d(v, 30.0), lambda v: downsample2d(v, "radial")])  # fmt: skip
def test_vmap_is_the_loop(op):
    x = torch.randn(3, 2, 2, 8, 8)
    assert torch.allclose(vmap(op)(x), torch.stack([op(v) for v in x]), atol=1e-5)


def test_gradients_per_sample_are_those_of_the_loop():
    net, x = Net(), torch.randn(3, 2, 8, 8)
    parameters = dict(net.named_parameters())

    def loss(p, v):
        return functional_call(net, p, (v[None],)).square().sum()

    every = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for i, v in enumerate(x):
        net.zero_grad()
        loss(parameters, v).backward()
        assert torch.allclose(every["conv.weight"][i], net.conv.weight.grad, atol=1e-4)


def test_forward_derivatives_are_those_of_a_difference():
    x, v = torch.randn(2, 1, 2, 8, 8, dtype=torch.float64)
    for op in (lambda u: filtered_activation2d(u, "gelu", "hq"), lambda u: upsample2d(u, "hq")):
        _, tangent = jvp(op, (x,), (v,))
        assert torch.allclose(tangent, (op(x + 1e-6 * v) - op(x - 1e-6 * v)) / 2e-6, atol=1e-7)


def test_a_whole_network_has_gradients_under_torch_func():
    model, x = AliasFreeUNet2DModel("D-hq", 8, 1, 1, 4).eval(), torch.randn(1, 1, 8, 8)
    parameters = dict(model.named_parameters())
    found = grad(lambda p: functional_call(model, p, (x, 3)).sample.square().sum())(parameters)
    model(x, 3).sample.square().sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(found[name], parameter.grad, atol=1e-3), name


def test_a_kernel_asked_for_under_torch_func_is_refused():
    with pytest.raises(BackendError, match=r"torch\.func"):
        vmap(lambda v: upsample2d(v, "hq", backend="numba"))(torch.randn(2, 1, 1, 8, 8))


# tensors without numbers


def test_the_meta_device_gives_shapes():
    x = torch.empty(2, 3, 16, 16, device="meta")
    assert upsample2d(x, "hq").shape == (2, 3, 32, 32)
    assert downsample2d(x, "hq").shape == (2, 3, 8, 8)
    assert filtered_activation2d(x, "silu", "hq").shape == x.shape
    assert filtered_activation2d(x, torch.tanh, "hq").shape == x.shape
    with torch.device("meta"):
        model = AliasFreeUNet2DModel("D-hq", 16, 1, 1, 8)
    assert model(x[:, :1], 3).sample.shape == (2, 1, 16, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_fake_tensors_leave_nothing_behind(dtype):
    plain.axis_matrices.cache_clear()

    def call(x):
        return filtered_activation2d(upsample2d(rotate2d(x, 33.0), "hq"), "silu", "hq")

    with FakeTensorMode():
        assert call(torch.empty(1, 2, 10, 10, dtype=dtype)).shape == (1, 2, 20, 20)
    real = call(torch.ones(1, 2, 10, 10, dtype=dtype))
    assert type(real) is torch.Tensor
    assert real.isfinite().all()
    with FakeTensorMode():
        assert call(torch.empty(1, 2, 10, 10, dtype=dtype)).shape == (1, 2, 20, 20)


# gradients of amounts


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("op", "amounts"),
    [
        (rotate2d, [[20.0, 100.0, -170.3]]),
        (rotate2d, [[-47.0]]),
        (translate2d, [[0.3, 1.7, -2.2], [0.1, 4.6, 0.4]]),
        (zoom2d, [[0.7, 1.3, 2.1]]),
    ],
)
@pytest.mark.parametrize("side", [6, 7])
def test_amounts_have_their_gradient(method, op, amounts, side):
    x = torch.randn(3, 1, side, side, dtype=torch.float64)
    tensors = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in amounts]
    assert torch.allclose(
        op(x, *tensors, method), op(x, *(a if len(a) > 1 else a[0] for a in amounts), method), atol=1e-10
    )
    assert torch.autograd.gradcheck(lambda *a: op(x, *a, method), tensors)


def test_one_angle_of_float32_images_has_its_gradient_and_the_images_have_theirs():
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    angle = torch.tensor(0.0, requires_grad=True)
    out = rotate2d(x, angle)
    assert torch.allclose(out, x)
    (out * torch.randn_like(out)).sum().backward()
    assert angle.grad.abs() > 0
    assert x.grad.shape == x.shape


def test_an_angle_can_be_found_by_descent():
    x = torch.nn.functional.interpolate(
        torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)), 16, mode="bicubic"
    )
    wanted = rotate2d(x, 12.0)
    angle = torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.Adam([angle], lr=1.0)
    for _ in range(60):
        optimizer.zero_grad()
        (rotate2d(x, angle) - wanted).square().mean().backward()
        optimizer.step()
    assert abs(angle.item() - 12) < 0.5


def test_angles_under_vmap_are_those_of_the_batch():
    x, angles = torch.randn(3, 1, 8, 8), torch.tensor([10.0, 95.0, 200.0])
    one = vmap(lambda v, a: rotate2d(v[None], a)[0])(x, angles)
    assert torch.allclose(one, rotate2d(x, angles), atol=1e-5)


def test_amounts_that_ask_for_gradients_are_checked_too():
    x = torch.randn(2, 1, 8, 6)
    with pytest.raises(ShapeError, match="one for each"):
        rotate2d(x, torch.zeros(3, requires_grad=True))
    with pytest.raises(ArgumentError, match="finite"):
        translate2d(x, torch.tensor(float("nan"), requires_grad=True), 0.0)
    with pytest.raises(ArgumentError, match="above 0"):
        zoom2d(x, torch.tensor(-1.0, requires_grad=True))
    with pytest.raises(ShapeError, match="45 degrees"):
        rotate2d(x, torch.tensor(90.0, requires_grad=True))
    assert rotate2d(x, torch.tensor(90.0, requires_grad=True), "spline").shape == x.shape


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_batch_stays_empty(method):
    x = torch.empty(0, 2, 8, 8, requires_grad=True)
    for amount in (30.0, [], torch.zeros(0)):
        for out, mask in (rotate2d(x, amount, method, return_mask=True),
                          translate2d(x, amount, amount, method, return_mask=True),
                          zoom2d(x, amount, method, return_mask=True)):  # fmt: skip
            assert out.shape == x.shape
            assert mask.shape[1:] == (1, 8, 8)

"""Explicit padding's kernels: gradients of any order, corners of every kind, and what follows calls by operations."""

import pytest
import torch
from torch import nn

from pcpad import ExplicitPadConv2d
from pcpad._explicit import explicit_conv2d


def layer_and_input(*shape, size=(5, 6), batch=(2,), groups=1):
    torch.manual_seed(0)
    layer = ExplicitPadConv2d(2, 2, *shape, groups=groups, dtype=torch.float64)
    nn.init.normal_(layer.border_weight)
    return layer, torch.randn(*batch, 2, *size, dtype=torch.float64, requires_grad=True)


def tensors(layer):
    return layer.weight, layer.border_weight, layer.bias


@pytest.mark.parametrize(
    ("shape", "groups"),
    [((3, 1, 1), 1), ((3, 2, 1), 1), ((3, 1, 1), 2), ((5, 2, 2), 1), ((3, 1, ((0, 2), (1, 0))), 1), ((3, 1, 2, 2), 1)],
    ids=["four corners", "one corner", "groups", "corners of several windows", "uneven", "dilated"],
)
def test_gradients_of_first_and_second_order(shape, groups):
    kernel, stride, padding, *dilation = shape
    layer, x = layer_and_input(kernel, groups=groups, batch=(1,))

    def run(x, *parameters):
        return explicit_conv2d(x, *parameters, stride, padding, *(dilation or [1]), groups)

    assert torch.autograd.gradcheck(run, (x, *tensors(layer)), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, *tensors(layer)), fast_mode=True)


def test_an_empty_batch_has_an_empty_output_and_gradient():
    layer, x = layer_and_input(3, 1, 1, batch=(0,))
    output = layer(x)
    assert output.shape == (0, 2, 5, 6)
    output.sum().backward()
    assert x.grad.shape == x.shape
    assert torch.equal(layer.border_weight.grad, torch.zeros_like(layer.border_weight))
    with torch.no_grad():
        assert layer(x).shape == (0, 2, 5, 6)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 7), (6, 5)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_ways_agree(size, stride):
    """Under `torch.func` regions are plain slices that are convolved, as they are while a program is recorded."""
    layer, x = layer_and_input(3, stride, 1, size=size)
    parameters = dict(layer.named_parameters())

    def total(parameters, x):
        return torch.func.functional_call(layer, parameters, x).square().sum()

    plain = torch.func.grad(total, argnums=(0, 1))(parameters, x)
    layer(x).square().sum().backward()
    assert torch.allclose(x.grad, plain[1], atol=1e-12)
    for name, parameter in parameters.items():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad  # there is no inside
        assert torch.allclose(found, plain[0][name], atol=1e-12), name
    with torch.no_grad():
        inferred = layer(x)
        for one, alone in zip(inferred, x, strict=True):
            assert torch.allclose(one, layer(alone), atol=1e-12)


@pytest.mark.parametrize("frozen", ["weight", "border_weight", "bias", "input"])
def test_what_needs_no_gradient_gets_none(frozen):
    layer, x = layer_and_input(3, 1, 1)
    (x if frozen == "input" else getattr(layer, frozen)).requires_grad_(False)
    layer(x).sum().backward()
    for name, tensor in {"input": x, **dict(layer.named_parameters())}.items():
        assert (tensor.grad is None) == (name == frozen)

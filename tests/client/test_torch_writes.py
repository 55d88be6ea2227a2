"""Writes in place, as real code has them: the graph is functional, the results are local torch's."""

from __future__ import annotations

import pytest
import torch

from farfunc_protocol.errors import MutationError
from support.local_and_remote import assert_same_as_local, ops_of, traced

torch.manual_seed(20260511)
x = torch.randn(4, 6, dtype=torch.float64)


def a_row(x):
    y = x.clone()
    y[0] = y[1] * 2
    return y


def slices(x):
    y = torch.zeros(4, 6, dtype=x.dtype)
    y[:, 1:3] += x[:, :2]
    y[..., 0] -= x[:, 1]
    y[::2] *= 2
    y[-1, -2:] = x[0, 0]
    return y


def by_a_mask(x):
    y = x * 1
    y[y > 0] = 0
    y[:, x[0] > 0] = 2.0
    y[x[:, 0] > 0] = x[0]
    return y


def by_functions(x):
    y = x * 1
    y.masked_fill_(x < 0, 3.0).clamp_(max=0.5)
    y.addcmul_(x, x).addcdiv_(x, x.exp()).lerp_(x, 0.3).pow_(2)
    return y


def transposed_views(x):
    y = x.sin()
    z = y.t()
    z[0] = 1.0
    w = z[1:3]
    w += x[:, :2].t()
    return y, z, w


def swapped_rows(x):
    y = x.sin()
    y[[0, 1]] = y[[1, 0]]
    return y


def rows_in_a_loop(x):
    out = torch.empty(5, 6, dtype=x.dtype)
    for i in range(4):
        out[i] = x[i] ** 2
    out[4] = x.sum(0)
    return out


def a_diagonal_and_a_flat_view(x):
    y = x.clone()
    y[:, :4].diagonal().mul_(3)
    y.view(-1)[::5] = 0
    return y


def views_of_views(x):
    y = x * 2
    a = y.view(2, 2, 6)
    b = a[1]
    c = b[0]
    c.mul_(x[0])
    b.add_(1)
    return y, a, b, c


def shapes_in_place(x):
    y = x.clone()
    z = y.t_()
    y.mul_(2)
    z.unsqueeze_(0)[0, 1] = 5.0
    return y, z


def by_indices(x):
    y = torch.zeros(3, 4, dtype=x.dtype)
    y.index_add_(0, torch.tensor([0, 0, 2, 1]), x[:, :4])
    y.scatter_(1, torch.tensor([[0], [1], [2]]), x[:3, :1])
    y.index_copy_(0, torch.tensor([1]), x[:1, :4])
    y.index_fill_(1, torch.tensor([3]), 2.0)
    y[torch.arange(3), torch.arange(3)] = x[:3, 5]
    y[torch.tril_indices(3, 3, -1).unbind()] = 0.5
    return y


def zeros_and_fills(x):
    y = x.clone()
    y.zero_()
    y += x
    y.fill_(2.0).fill_diagonal_(1.0)
    return y * x


def overlapping_windows(x):
    y = x.clone()
    y.unfold(1, 2, 2)[:, 1, 0] = 9.0
    return y


def a_broadcast_and_a_conversion(x):
    y = x.clone()
    y.copy_(x[0])
    y[1:] = torch.arange(6)
    z = x.to(torch.float32)
    z[0] = x[0]
    return y, z + 1


def parts_of_complex_numbers(x):
    y = torch.complex(x, x * 2)
    y.real.mul_(2)
    y.imag[0] = 1.0
    return torch.view_as_real(y)


def an_accumulator(x):
    total = x.new_zeros(6)
    for row in x:
        total += row * row
    total /= len(x)
    return total


def one_memory_two_names(x):
    y = x.flatten() * 1
    z = y.view(4, 6)
    z[1, 2] = y[0]
    y[3] = z.sum()
    return y, z


def without_grad(x):
    y = x.sin()
    with torch.no_grad():
        y[1:3].mul_(3)
        y.clamp_(max=0.9)
    return y * x


def through_a_detached_view(x):
    y = x.sin()
    y.detach()[0] = 2.0
    y.data.clamp_(max=0.5)
    return y * x


def statistics(x):
    data = x.reshape(2, 2, 6)
    mean, var = torch.zeros(2, dtype=x.dtype), torch.ones(2, dtype=x.dtype)
    once = torch.nn.functional.batch_norm(data, mean, var, training=True, momentum=0.3)
    again = torch.nn.functional.instance_norm(data, mean, var, momentum=0.2)
    return once, again, mean, var


def renormalised_weights(x):
    weights = x * 3
    return torch.nn.functional.embedding(torch.tensor([1, 2, 1]), weights, max_norm=1.0), weights


def a_view_from_before(x):
    y = x.clone()
    column = y[:, 0]
    y.mul_(2)
    with torch.no_grad():
        frozen = column * 2
    return frozen, column * x[:, 1]


FUNCTIONS = [
    a_row, slices, by_a_mask, by_functions, transposed_views, swapped_rows, rows_in_a_loop, a_diagonal_and_a_flat_view,
    views_of_views, shapes_in_place, by_indices, zeros_and_fills, overlapping_windows, a_broadcast_and_a_conversion,
    parts_of_complex_numbers, an_accumulator, one_memory_two_names, without_grad, through_a_detached_view,
    a_view_from_before,
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_write(function):
    assert_same_as_local(function, x)


def chunks(x):
    y = x.clone()
    a, b = y.chunk(2, 1)
    a.sigmoid_()
    b.tanh_()
    y.unbind(0)[2].neg_()
    torch.split(y, [1, 5], 1)[1].mul_(2)
    return y


def results_in_out(x):
    first = torch.empty(0, dtype=x.dtype)
    second = torch.empty_like(x)
    torch.mul(x, 2, out=first)
    torch.add(x, first, out=second)
    return first, second


@pytest.mark.parametrize("function", [chunks, results_in_out, statistics, renormalised_weights])
def test_write_that_autograd_refuses_and_a_graph_can_say(function):
    assert_same_as_local(function, x, transforms=(None,))
    traced(function, x)


def test_an_addition_to_a_slice_writes_once():
    # One for each of the lines, and one more for the row of y[-1, -2:].
    assert ops_of(slices, x).count("slice_scatter") == 5


def test_rows_are_written_as_slices():
    # The reverse mode of select_scatter is wrong under vmap (torch 2.13).
    assert "select_scatter" not in ops_of(a_row, x)


def test_tensors_from_outside_cannot_be_written_to():
    outside = torch.zeros(6)
    with pytest.raises(MutationError, match="made outside"):
        traced(lambda x: outside.add_(1) + x, x)
    with pytest.raises(MutationError, match="made outside"):
        traced(lambda x: outside[0].add_(1) + x, x)
    assert outside.sum() == 0


def test_running_statistics():
    module = torch.nn.BatchNorm1d(6).double()
    with pytest.raises(MutationError, match="made outside") as caught:
        traced(module, x)
    assert "eval()" in caught.value.remedy


def test_other_memory():
    def function(x):
        y = x.clone()
        y.data = x * 2
        return y

    with pytest.raises(MutationError, match="memory of another tensor"):
        traced(function, x)


def test_the_errors_of_torch_itself():
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        traced(lambda x: x[:1].clone().expand(4, 6).add_(1), x)
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type Long"):
        traced(lambda x: torch.zeros(6, dtype=torch.long).add_(x[0]), x)
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        traced(lambda x: x[0].clone().add_(x), x)

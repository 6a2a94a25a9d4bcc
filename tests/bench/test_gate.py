"""The gate before the clock: what is computed wrongly is never timed."""

import pytest
import torch
from quick_bench import bench_quickly, quick_machine

from ultrafastbert import kernels
from ultrafastbert.bench import baselines, gate
from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.kernels.plain import PlainKernel


@pytest.fixture(autouse=True, scope="module")
def measured_quickly():
    with quick_machine():
        yield


def broken(name):
    """The gather kernel with an output, or a gradient of w_in, that is off by a thousandth."""

    def forward(*arguments):
        y, leaf, logits = kernels.gather.forward(*arguments)
        return (y * 1.001 if name == "output" else y), leaf, logits

    def backward(*arguments):
        grads = list(kernels.gather.backward(*arguments))
        grads[1] = grads[1] * 1.001 if name == "gradient" else grads[1]
        return tuple(grads)

    return PlainKernel("broken", forward, backward)


@pytest.mark.parametrize("name", ["output", "gradient"])
def test_a_wrong_kernel_is_never_timed(monkeypatch, name):
    monkeypatch.setitem(kernels.KERNELS, "broken", broken(name))
    with pytest.raises(RuntimeError, match=f"broken.*: the {name}.* is off by"):
        bench_quickly("1x3x2", n_tokens=(40,))


def test_undecided_tokens_are_not_compared():
    torch.manual_seed(0)
    fff = FastFeedForward(8, depth=3)
    x = torch.randn(20, 8)
    x[::2] = 0.0  # all logits are zero
    expected = gate.expect(fff, x)
    assert set(expected.chosen.tolist()) <= set(range(1, 20, 2))
    assert not expected.grad_y[::2].any()
    gate.prove("gather", fff, expected, backward=True)
    with pytest.raises(RuntimeError, match="within"):
        gate.expect(fff, torch.zeros(3, 8))


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(
    "linear", baselines.available_linears(), ids=lambda x: f"{x.name}-{x.dtype}"
)
def test_dense_baselines_compute_the_layer(linear, has_bias):
    torch.manual_seed(0)
    dense, x = FeedForward(48, 70, bias=has_bias), torch.randn(9, 48)
    run = baselines.build_dense(linear, dense, 9)
    baselines.prove_dense(linear, run, dense, x)
    wrong = baselines.build_dense(linear, FeedForward(48, 70), 9)
    with pytest.raises(RuntimeError, match=f"{linear.name} {linear.precision} is off"):
        baselines.prove_dense(linear, wrong, dense, x)

"""State dicts of `fastfeedforward.FFF`: loaded, exported, and the same numbers as there."""

import pytest
import torch
from safetensors.torch import save_file

from ultrafastbert import FastFeedForward, hardening_loss, use_kernel
from ultrafastbert.kernels import KERNELS
from ultrafastbert.models.io.fastfeedforward_package import (
    load_fastfeedforward,
    to_fastfeedforward_state_dict,
)

# D, H, L, O
SHAPES = [(1, 3, 1, 5), (2, 7, 2, 7), (3, 16, 8, 4), (4, 5, 3, 1), (5, 9, 4, 6)]
BATCHES = [(1,), (17,), (3, 6)]


@pytest.fixture
def fff():
    """The class of the published package."""
    return pytest.importorskip("fastfeedforward").FFF


def state_dict(shape=(2, 7, 2, 5), **changes):
    depth, hidden, leaf_size, output = shape
    torch.manual_seed(0)
    leaves = 2**depth
    state = {
        "depth": torch.tensor(depth),
        "node_weights": torch.randn(leaves - 1, hidden),
        "node_biases": torch.randn(leaves - 1, 1),
        "w1s": torch.randn(leaves, hidden, leaf_size),
        "b1s": torch.randn(leaves, leaf_size),
        "w2s": torch.randn(leaves, leaf_size, output),
        "b2s": torch.randn(leaves, output),
    }
    return state | changes


def make_twins(fff, shape, dtype=torch.float32, **options):
    depth, hidden, leaf_size, output = shape
    torch.manual_seed(0)
    theirs = fff(hidden, leaf_size, output, depth, **options).to(dtype)
    options.pop("usage_mode", None)
    hardened = options.pop("train_hardened", False)
    ours = load_fastfeedforward(theirs.state_dict(), soft_training=not hardened, **options)
    assert ours.w_in.dtype == dtype
    return theirs, ours


def gradients(layer):
    """The gradients of our layer under the names of theirs."""
    twin = FastFeedForward(
        layer.hidden_size,
        layer.depth,
        leaf_size=layer.leaf_size,
        output_size=layer.output_size,
        node_output=False,
        leaf_output_bias=True,
        dtype=layer.w_in.dtype,
    )
    twin.load_state_dict({name: p.grad for name, p in layer.named_parameters()})
    return to_fastfeedforward_state_dict(twin)


def assert_same_gradients(ours, theirs):
    got = gradients(ours)
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            scale = max(1.0, grad.abs().max().item())
            torch.testing.assert_close(got[name], grad, rtol=0, atol=1e-6 * scale, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("shape", SHAPES)
def test_soft_training_is_the_same(fff, shape, batch, dtype):
    theirs, ours = make_twins(fff, shape, dtype)
    xs = [torch.randn(*batch, shape[1], dtype=dtype).requires_grad_() for _ in range(2)]
    xs[1].data.copy_(xs[0].data)
    y, entropies = theirs(xs[0], return_entropies=True)
    mixed = ours(xs[1])
    # Their mixture is in float32 whatever the weights are.
    torch.testing.assert_close(mixed.float(), y.float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.entropies[0].float(), entropies.float(), rtol=0, atol=1e-6)
    grad_y = torch.randn_like(mixed) / mixed.numel() ** 0.5
    ((y * grad_y).sum() + 0.5 * entropies.sum()).backward()
    ((mixed * grad_y).sum() + 0.5 * hardening_loss(ours)).backward()
    assert_same_gradients(ours, theirs)
    torch.testing.assert_close(xs[1].grad, xs[0].grad, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", [name for name in KERNELS if name != "dense"])
@pytest.mark.parametrize("shape", SHAPES)
def test_evaluation_is_the_same_but_for_the_bias_that_theirs_forgets(fff, shape, kernel):
    if not KERNELS[kernel].is_available():
        pytest.skip(f"{kernel} is not available")
    theirs, ours = make_twins(fff, shape)
    x = torch.randn(3, 6, shape[1])
    theirs.eval(), ours.eval()
    with torch.no_grad(), use_kernel(kernel):
        y = ours(x)
        bias = ours.b_out[0, ours.visited_leaves(x)[..., 0]]
        torch.testing.assert_close(y, theirs(x) + bias, rtol=1e-6, atol=1e-6)
        # Their own training, hardened, adds it.
        hardened = theirs.training_forward(x, use_hard_decisions=True)
        torch.testing.assert_close(y, hardened, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_hardened_training_is_exactly_sparse_training(fff, shape):
    theirs, ours = make_twins(fff, shape, train_hardened=True)
    x = torch.randn(12, shape[1])
    grad_y = torch.randn(12, shape[3]) / 12
    theirs(x).backward(grad_y)
    ours(x).backward(grad_y)
    assert_same_gradients(ours, theirs)


def test_depth_0_is_a_dense_layer(fff):
    theirs, ours = make_twins(fff, (0, 4, 3, 2))
    x = torch.randn(5, 4)
    y = theirs(x)  # their evaluation fails
    torch.testing.assert_close(ours(x), y)
    torch.testing.assert_close(ours.eval()(x), y)
    assert set(to_fastfeedforward_state_dict(ours)) == set(theirs.state_dict())


def test_a_logit_of_zero_goes_left(fff):
    """Theirs goes right in evaluation (>= 0) and left in hardened training (0.5 rounds to 0)."""
    theirs = fff(3, 2, 2, 1)
    theirs.node_weights.data.zero_()
    theirs.node_biases.data.zero_()
    theirs.b2s.data.zero_()
    ours = load_fastfeedforward(theirs.state_dict()).eval()
    x = torch.randn(4, 3)
    torch.testing.assert_close(ours(x), theirs.training_forward(x, use_hard_decisions=True))
    assert not ours.visited_leaves(x).any()
    assert not torch.allclose(ours(x), theirs.eval()(x))


@pytest.mark.parametrize("option", [{"region_leak": 0.3}, {"dropout": 0.4}])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_random_numbers_leak_and_drop_the_same(fff, shape, option):
    theirs, ours = make_twins(fff, shape, **option)
    for seed in range(20):
        x = torch.randn(1, shape[1])  # of one token, both draw a number a node in heap order
        torch.manual_seed(seed)
        y, entropies = theirs(x, return_entropies=True)
        torch.manual_seed(seed)
        torch.testing.assert_close(ours(x), y, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(ours.entropies[0], entropies, rtol=0, atol=1e-6)


def test_usage_goes_on_from_theirs(fff):
    theirs, _ = make_twins(fff, (2, 7, 2, 5), usage_mode="soft")
    x = torch.randn(30, 7)
    theirs(x)
    ours = load_fastfeedforward(theirs.state_dict())
    assert ours.usage_mode == "soft"
    theirs(x)
    ours(x)
    torch.testing.assert_close(ours.leaf_usage[0].float(), theirs.leaf_usage)
    torch.testing.assert_close(ours.node_usage[0].float(), theirs.node_usage)
    theirs.load_state_dict(to_fastfeedforward_state_dict(ours))
    assert load_fastfeedforward(theirs.state_dict(), usage_mode="none").leaf_usage is None


def test_hard_usage_of_hardened_training_is_theirs(fff):
    theirs = fff(7, 2, 5, 3, train_hardened=True, usage_mode="hard")
    ours = load_fastfeedforward(theirs.state_dict(), soft_training=False, usage_mode="hard")
    x = torch.randn(30, 7)
    theirs(x)
    ours(x)
    assert torch.equal(ours.leaf_usage[0].float(), theirs.leaf_usage)


def test_a_layer_trained_here_loads_there(fff):
    ours = load_fastfeedforward(state_dict(), soft_training=True)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
    x = torch.randn(9, 7)
    ours(x).square().mean().backward()
    optimizer.step()
    theirs = fff(7, 2, 5, 2)
    theirs.load_state_dict(to_fastfeedforward_state_dict(ours))
    torch.testing.assert_close(theirs(x), ours(x))


@pytest.mark.parametrize("shape", [(0, 4, 3, 2), *SHAPES])
def test_sizes_come_from_the_tensors_and_go_back(shape):
    state = state_dict(shape)
    layer = load_fastfeedforward(state, activation="gelu", kernel="gather")
    assert (layer.depth, layer.hidden_size, layer.leaf_size, layer.output_size) == shape
    assert (layer.activation, layer.kernel, layer.node_output) == ("gelu", "gather", False)
    back = to_fastfeedforward_state_dict(layer)
    assert list(back) == list(state)
    for name, tensor in back.items():
        assert torch.equal(tensor, state[name])
        assert tensor.is_contiguous()


def test_a_file_and_a_layer_of_a_model(tmp_path):
    x = torch.randn(4, 7)
    state = state_dict()
    y = load_fastfeedforward(state)(x)
    model = {f"layers.1.ff.{name}": tensor for name, tensor in state.items()}
    save_file(model | {"layers.1.norm": torch.ones(7)}, tmp_path / "model.safetensors")
    layer = load_fastfeedforward(tmp_path / "model.safetensors", prefix="layers.1.ff.")
    assert torch.equal(layer(x), y)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt is not a safetensors file"):
        load_fastfeedforward(tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError):
        load_fastfeedforward(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w1s": torch.zeros(3, 7, 2)}, "w1s has 3 leaves; it must be a power of two"),
        ({"w1s": torch.zeros(4, 7)}, r"w1s has shape \(4, 7\)"),
        ({"w2s": torch.zeros(4, 3, 5)}, r"w2s has shape \(4, 3, 5\)"),
        ({"b1s": torch.zeros(4)}, r"b1s has shape \(4,\)"),
        ({"b2s": torch.zeros(4, 6)}, r"b2s has shape \(4, 6\)"),
        ({"node_weights": torch.zeros(4, 7)}, r"node_weights has shape \(4, 7\)"),
        ({"node_biases": torch.zeros(3)}, r"node_biases has shape \(3,\)"),
        ({"leaf_usage": torch.zeros(3)}, r"leaf_usage has shape \(3,\)"),
        ({"depth": torch.tensor(3)}, "depth is 3, but w1s has 4 leaves"),
        ({"b2s": torch.full((4, 5), torch.nan)}, "b2s holds NaN"),
        ({"node_biases": torch.full((3, 1), torch.inf)}, "node_biases holds NaN or inf"),
        ({"w3s": torch.zeros(1)}, "no tensor 'w3s'"),
    ],
)
def test_tensors_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        load_fastfeedforward(state_dict(**changes))


def test_missing_and_mixed_tensors_are_named():
    state = state_dict()
    del state["w2s"], state["depth"]
    with pytest.raises(ValueError, match=r"lacks ff\.w2s$"):
        load_fastfeedforward({f"ff.{name}": t for name, t in state.items()}, prefix="ff.")
    with pytest.raises(ValueError, match="lacks node_weights, node_biases, w1s"):
        load_fastfeedforward({})
    for dtype in (torch.float64, torch.int64):
        with pytest.raises(TypeError, match="b1s has dtype"):
            load_fastfeedforward(state_dict(b1s=torch.zeros(4, 2, dtype=dtype)))
    assert load_fastfeedforward({k: v for k, v in state_dict().items() if k != "depth"}).depth == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"n_trees": 2}, "n_trees=2"),
        ({"node_output": True}, "node_output=True"),
        ({"shared_size": 3}, "shared_size"),
        ({"weight_dtype": "int8"}, "weight_dtype='int8'"),
    ],
)
def test_layers_that_it_has_no_place_for_are_refused(options, reason):
    layer = FastFeedForward(**({"hidden_size": 4, "depth": 2, "node_output": False} | options))
    with pytest.raises(ValueError, match=f"nothing for {reason}"):
        to_fastfeedforward_state_dict(layer)


def test_a_layer_without_biases_of_leaves_gets_zeros():
    layer = FastFeedForward(4, 2, node_output=False)
    assert not to_fastfeedforward_state_dict(layer)["b2s"].any()

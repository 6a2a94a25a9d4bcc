"""Learning the hyperplanes of trees: a token should go where its error is smallest.

Decisions carry no gradient, but what another decision would have cost can be computed: the error of
the token in every other leaf. Each node on a token's path learns, as a logistic regression, to send
it to the child with the smaller error below, weighted by the difference; what lies below decides as
it does now. That is tree alternating optimization (Carreira-Perpinan and Tavallali, NeurIPS 2018)
taken one step at a time, in turn with the training of the neurons. A second term keeps the halves
of a node equal: leaves that few tokens visit learn little, are chosen less, and die.
"""

import torch
from torch import Tensor, nn

from ultrafastbert.fff import tree
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.layer import FastFeedForward

# Weight of the second term.
BALANCE = 1.0


class HyperplaneTraining:
    """Trains the hyperplanes of a layer, a step at a time, in place.

    Args:
        layer: with trees of depth 1 or more.
        learning_rate: of Adam. Nodes start with small weights, see `splits.set_hyperplanes`.
    """

    def __init__(self, layer: FastFeedForward, learning_rate: float):
        self.layer, self.n_nodes = layer, tree.n_nodes(layer.depth)
        self.learning_rate = learning_rate
        self.w = nn.Parameter(layer.w_in[:, : self.n_nodes].detach().clone())  # (K, N, H)
        self.b = nn.Parameter(layer.b_in[:, : self.n_nodes].detach().clone())  # (K, N)
        self.optimizer = torch.optim.Adam([self.w, self.b], learning_rate, betas=(0.9, 0.99))

    def step(self, x: Tensor, residual: Tensor, weights: Tensor, rate: float = 1.0) -> None:
        """Move the hyperplanes by one step.

        Args:
            x: inputs, (T, H).
            residual: what the layer's output lacks, (T, O).
            weights: what each token's squared error counts, (T, 1).
            rate: factor on the learning rate.
        """
        logits = torch.einsum("th,knh->ktn", x, self.w) + self.b.unsqueeze(1)
        leaves = self.layer.visited_leaves(x)  # (T, K)
        loss = x.new_zeros(())
        for k in range(self.layer.n_trees):
            errors = weights * leaf_errors(self.layer, k, x, residual, leaves[:, k])
            visited = _visited(leaves[:, k], self.layer.depth)
            loss = loss + decision_loss(logits[k], errors, visited)
            loss = loss + BALANCE * imbalance(logits[k], visited)
        self.optimizer.param_groups[0]["lr"] = self.learning_rate * rate
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.layer.w_in[:, : self.n_nodes] = self.w
            self.layer.b_in[:, : self.n_nodes] = self.b


@torch.no_grad()
def leaf_errors(
    layer: FastFeedForward, k: int, x: Tensor, residual: Tensor, leaf: Tensor
) -> Tensor:
    """Return the mean squared error of each token in every leaf of tree k, up to a constant.

    Shapes: x (T, H), residual (T, O), leaf (T) that is visited -> (T, 2^D). With v the output of a
    leaf and r what the others leave: |r - v|^2 = |r|^2 - 2 r.v + |v|^2, by products of all leaves'
    neurons at once. Outputs of nodes stay those of the path taken.
    """
    rows = slice(tree.n_nodes(layer.depth), None)
    w_out = layer.w_out[k, rows].unflatten(0, (-1, layer.leaf_size))  # (leaves, L, O)
    z = torch.addmm(layer.b_in[k, rows], x, layer.w_in[k, rows].T)
    hidden = ACTIVATIONS[layer.activation].forward(z).unflatten(1, w_out.shape[:2])
    here = torch.arange(len(x)), leaf
    own = torch.einsum("tl,tlo->to", hidden[here], w_out[leaf])
    along = (residual + own) @ w_out.flatten(0, 1).T  # r . each row
    squares = torch.einsum("tnl,nlm->tnm", hidden, w_out @ w_out.transpose(1, 2))
    return ((squares - 2 * along.view_as(hidden)) * hidden).sum(-1) / residual.shape[1]


def decision_loss(logits: Tensor, errors: Tensor, visited: Tensor) -> Tensor:
    """Return how much the nodes visited decide for the worse child, a logistic loss.

    Shapes: logits (T, N) of nodes in heap order, errors (T, 2^D) in every leaf, visited (T, N).
    """
    loss, below = logits.new_zeros(()), errors  # below: error where each node's subtree leads
    for level in reversed(range(errors.shape[1].bit_length() - 1)):
        nodes = slice(2**level - 1, 2 ** (level + 1) - 1)
        left, right = below[:, 0::2], below[:, 1::2]
        gain = left - right  # of going right
        wrong = nn.functional.softplus(-gain.sign() * logits[:, nodes])
        loss = loss + (visited[:, nodes] * gain.abs() * wrong).sum()
        below = torch.where(logits[:, nodes] > 0, right, left)
    return loss / len(logits)


def imbalance(logits: Tensor, visited: Tensor) -> Tensor:
    """Return how far the nodes' mean decisions are from a half, weighted by their tokens."""
    n_tokens = visited.sum(0)  # (N)
    right = (visited * logits.sigmoid()).sum(0) / n_tokens.clamp(min=1)
    return ((right - 0.5).square() * n_tokens).sum() / len(logits)


def _visited(leaf: Tensor, depth: int) -> Tensor:
    """Return which nodes are on the way to a leaf, as 0 and 1: (T) -> (T, N)."""
    on_path = torch.zeros(len(leaf), tree.n_nodes(depth), dtype=torch.float32)
    return on_path.scatter(1, tree.path_nodes(leaf, depth), 1.0)

"""Train the layer inside a plain PyTorch model, with its exactly sparse gradient.

python examples/layer_in_torch.py
"""

import torch
from torch import nn

from ultrafastbert import FastFeedForward


def main() -> None:
    """Print the loss of a small regression, and how much of the layer a token uses."""
    torch.manual_seed(0)
    layer = FastFeedForward(hidden_size=32, depth=5, leaf_size=8)  # 1x5x8
    model = nn.Sequential(nn.Linear(2, 32), layer, nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(401):
        x = 4 * torch.rand(256, 2) - 2
        loss = (model(x)[:, 0] - torch.sin(3 * x[:, 0]) * x[:, 1]).square().mean()
        optimizer.zero_grad()
        loss.backward()  # rows that no token visits keep a gradient of zero
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: mean squared error {loss:.3f}")
    leaves = layer.visited_leaves(model[0](x))  # (tokens, trees)
    print(
        f"{layer.n_active} of {layer.n_neurons} neurons a token, {leaves.unique().numel()} leaves"
    )


if __name__ == "__main__":
    main()

"""Models for inference in PyTorch, with the fastest linear layers of this machine.

`backends` has every way to compute a linear layer, `choice` times them, `linear` is the layer that
takes the place of `torch.nn.Linear`, `difference` compares outputs, `model` optimizes and loads.
"""

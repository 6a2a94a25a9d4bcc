"""What learns from the original: each block (layer-wise), then the whole model (end to end)."""

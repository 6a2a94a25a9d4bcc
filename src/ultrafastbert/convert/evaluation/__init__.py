"""Quality and speed: STS-B scores, latencies, the dense layer that takes the tree's time."""

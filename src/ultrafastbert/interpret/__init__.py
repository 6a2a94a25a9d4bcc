"""What regions of a trained tree stand for."""

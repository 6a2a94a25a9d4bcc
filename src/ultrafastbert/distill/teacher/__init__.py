"""What the original computes on text, kept on disk: of its blocks, and of the whole model."""

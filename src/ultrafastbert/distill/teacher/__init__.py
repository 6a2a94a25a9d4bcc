"""What the original computes on text, kept on disk: its FF layers' and its own outputs."""

"""The fast feedforward layer: its definition, its operator and its module."""

"""Running finished models."""

"""Texts of the conversion: a sample of all text, in batches."""

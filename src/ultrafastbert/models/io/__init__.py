"""Checkpoints of other software: read without running any of its code, and written back.

`crammed` reads and writes folders of published UltraFastBERT and crammedBERT models, by the help of
`crammed_config` and `crammed_tensors`, which translate, and `tensor_files`.
`fast_feedforward` does so for layers of the package `fastfeedforward`.
"""

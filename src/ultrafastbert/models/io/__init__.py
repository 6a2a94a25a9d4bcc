"""Saved models: loading, model cards, and checkpoints of other software, whose code never runs.

- `saved`: load a model of any kind as the class it was saved as; `checked_loading`: what
  `from_pretrained` of our classes checks.
- `card`: write a folder's README.md; `bert_card` and `converted_card` compose it of `card_parts`.
- `crammed_import` and `crammed_export`: published UltraFastBERT and crammedBERT models, from and to
  ours; `crammed_folder` reads and writes their folders, `crammed_config` (by `crammed_options`) and
  `crammed_tensors` translate, `tensor_files` reads files of tensors.
- `fastfeedforward_package`: layers of PyPI's `fastfeedforward`.
"""

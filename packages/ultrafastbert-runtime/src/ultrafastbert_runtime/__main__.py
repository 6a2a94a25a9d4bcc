"""`python -m ultrafastbert_runtime`: the command line."""

from ultrafastbert_runtime.cli import main

main()

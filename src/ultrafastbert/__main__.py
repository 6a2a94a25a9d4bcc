"""`python -m ultrafastbert` is the command `ultrafastbert`."""

from ultrafastbert.cli import main

main()

"""``python -m aigiscan``."""

from aigiscan.cli.process import main

main()

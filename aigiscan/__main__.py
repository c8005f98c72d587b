"""``python -m aigiscan`` is ``aigiscan``."""

from aigiscan.cli.app import main

main()

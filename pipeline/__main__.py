"""``python -m pipeline`` is ``dhs``."""

from pipeline.cli import main

main()

"""``python -m gsocc.app``: the `gsocc` command where its script is not on the path."""

from gsocc.app.cli import main

main()

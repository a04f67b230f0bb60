"""``python -m cmvae``: the command line."""

from cmvae.cli import main

main()

"""The commands on files, one a file; :mod:`cmvae.cli` gathers them."""

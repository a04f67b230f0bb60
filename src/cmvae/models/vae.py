"""Moved to :mod:`cmvae.models.inference`; kept until nothing imports it from here."""

from cmvae.models.inference import evaluating as evaluating

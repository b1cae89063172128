"""Variational inference for radio-galaxy classification: a reproducible paper."""

__version__ = "0.1.0"

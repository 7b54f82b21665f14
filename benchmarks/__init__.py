"""Slow proofs of what the README claims. ``make bench`` runs them all; results stand in ``benchmarks/results``."""

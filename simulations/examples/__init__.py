"""Short programs to copy and change. Run them with ``python -m banyan.simulations.examples.NAME``."""

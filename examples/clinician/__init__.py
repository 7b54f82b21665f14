"""A clinician's laptop in a network of hospitals: ``python -m examples.clinician`` walks through it. See README.md."""

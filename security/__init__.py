"""Who said it, may they, is it sane: identity, envelope, charter, credential, admission, evidence.

Imports nothing else of Banyan. Nothing here does network I/O or reads a clock: times are arguments, in
integer milliseconds since the epoch.
"""

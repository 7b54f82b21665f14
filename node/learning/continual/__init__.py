"""Learning one thing after another without losing what was learnt before.

A *task* is one data source that this device has been trained on. :mod:`memory` keeps what earlier tasks leave behind,
one of :mod:`replay`, :mod:`ewc` and :mod:`orthogonal` protects them while a new one is learnt, :mod:`gate` accepts a
version only where no earlier task has got worse, and :mod:`course` puts them together.
"""

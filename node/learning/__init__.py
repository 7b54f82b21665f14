"""What a node does with its own data: base model, adapter, rows, training, and the jobs of a round.

``base_model``, ``shared_a``, ``layout``, ``export``, ``dataset`` and the ``aggregate`` and ``inspect`` jobs need
only numpy; torch is imported by ``adapter``, ``trainer`` and ``client_app``, and inside
``base_model.load``. Importing this package imports none of them.
"""

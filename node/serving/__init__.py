"""Using a model of the tree: an OpenAI-compatible server, a conversation in the terminal, files for other tools.

Everything that computes runs in the process of ``banyan serve`` or ``banyan chat``, never in the daemon.
"""

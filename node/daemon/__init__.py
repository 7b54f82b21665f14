"""One running node: performs what the core decides, supervises what may fail, answers its owner.

Nothing here decides anything about the network and nothing here trains: decisions are the core's
(:mod:`banyan.protocol.peer`), heavy numbers are the workers' (:mod:`banyan.node.worker`).
"""

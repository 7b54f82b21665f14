"""The worker: a child process that alone imports torch, and the daemon's side of it.

Daemon and worker exchange length-checked frames of canonical msgpack over the child's standard input and output;
blobs never travel in frames, only their digests. ``client`` is the daemon's side (trio, no torch); ``main`` the
child's.
"""

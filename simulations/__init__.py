"""Many virtual devices on a virtual network, driving the very core that the daemon drives.

One seed gives one trace, byte for byte, on every machine: see :class:`banyan.simulations.world.World`.
"""

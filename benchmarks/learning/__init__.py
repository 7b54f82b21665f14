"""What a tree of federations learns that devices alone, one federation of all, or one a leaf do not.

``shares`` says who holds which rows, ``school`` trains and measures, ``branch`` runs rounds and lifts by the jobs of
the node, ``arms`` are what is compared, ``report`` tells it.
"""

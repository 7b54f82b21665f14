"""How the embedded base model of `banyan.node.assets` is made: its text, its training and its check."""

"""Finds the model for a person in a conversation.

``dialogue`` the turns, a pure function of what was said; ``hearing``, ``following``, ``edits`` what a turn means;
``questions`` what is worth asking; ``sentences`` how it is said; ``sessions`` many conversations at once.
"""

"""Stories that run: each is a folder with its own README."""

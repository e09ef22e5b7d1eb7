"""A file as one normalised text, and what it says of itself: its language, its month, its companies."""

"""Wiring only: the whole platform on one machine, replay, and the demo. Read `parts` and you know the house."""

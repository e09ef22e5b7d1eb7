"""Sums made from records, kept so that nobody reads a year again: a file that can be thrown away at any time."""

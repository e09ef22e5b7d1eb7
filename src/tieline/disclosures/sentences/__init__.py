"""Sentences: split, turned into templates, matched against rows of rules."""

"""Tieline: what every megawatt does, who is served by it, and what the books say of it."""

__version__ = "0.1.0"

"""The platform on known days: recorded ones, and the past of a demo."""

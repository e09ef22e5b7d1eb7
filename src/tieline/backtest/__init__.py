"""Policies on recorded days, beside bounds that no policy can beat."""

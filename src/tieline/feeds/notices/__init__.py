"""Notices of a grid operator or aggregator as orders: one client for a site's agent and for the platform's desk."""

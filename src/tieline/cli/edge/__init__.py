"""Commands to single rigs and groups of a site that an agent runs."""

"""Commands to single rigs and groups of a site that an agent runs, and the search for rigs on its network."""

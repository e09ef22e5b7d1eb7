"""A site's rigs in a process of their own: what many rigs, or rigs that mean harm, cost never delays the agent."""

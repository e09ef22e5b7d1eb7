"""The one OpenAI-compatible door: admits, routes, relays, meters, and carries streams over a site's death.

Its data plane is its own HTTP on asyncio protocols (docs/decisions/0003); everything else is told to it.
"""

"""GPU nodes of a site: how their engines run, what they draw, how requests reach them."""

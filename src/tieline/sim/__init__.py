"""A synthetic world: what stands in for rigs, nodes and meters where there are none. Always labelled so."""

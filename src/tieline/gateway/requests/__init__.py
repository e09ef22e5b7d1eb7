"""One request from admission to its last byte, over as many replicas as it takes."""

"""Planning: from settings and a node to a configuration."""

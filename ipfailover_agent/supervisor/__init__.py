"""Start, reload and stop: keepalived's life in the agent, and changes of configurations."""

"""keepalived: its lines, exit codes, dumps and life, without the agent's part in it."""

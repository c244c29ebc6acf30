"""keepalived: its lines, exit codes and dumps, and the state machine of its life."""

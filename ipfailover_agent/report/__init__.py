"""Shows people and machines what is known. Reads immutable snapshots only."""

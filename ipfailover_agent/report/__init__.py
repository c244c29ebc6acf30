"""Tells people and machines. Reads immutable snapshots only."""

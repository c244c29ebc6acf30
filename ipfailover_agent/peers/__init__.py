"""Peers that names resolve to."""

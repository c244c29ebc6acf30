"""Peers that are given by name."""

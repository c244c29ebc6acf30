"""Telling: causes, history, and what is said of a node."""

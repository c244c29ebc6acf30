"""Drains: an operator has other nodes serve this node's addresses."""

"""Contests: which other node claims an address of this node, and which of the two yields."""

"""Contests: who else claims our addresses, and who yields."""

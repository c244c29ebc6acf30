"""Supervision: keepalived as a process, and what it says."""

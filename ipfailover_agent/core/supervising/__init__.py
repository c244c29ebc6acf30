"""Supervision: keepalived as a process, and its output."""

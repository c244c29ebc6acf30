"""Touches the machine. Decides nothing."""

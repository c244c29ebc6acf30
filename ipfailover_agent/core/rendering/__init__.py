"""Rendering: from a configuration to files."""

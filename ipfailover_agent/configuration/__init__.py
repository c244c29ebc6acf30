"""Configurations on their way: built, tested, put in force."""

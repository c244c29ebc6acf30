"""One module per command; ``cli`` imports the one it needs."""

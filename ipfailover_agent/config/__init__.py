"""Configurations: variables, what is planned with them, the files, keepalived's test of them."""

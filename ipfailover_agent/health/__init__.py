"""The check of the application: probes, check runs, listeners."""

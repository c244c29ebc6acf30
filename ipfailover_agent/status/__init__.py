"""What is known: events, transitions, states, readiness, status.json and the log."""

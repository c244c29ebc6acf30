"""Causes of transitions, the events that are kept, and the judgements of doctor."""

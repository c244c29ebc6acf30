"""Hides rich from agents in tests, which a linter brings along: structlog would load it.

A user's agent has none beside it. It would cost each start of one 70 ms.
"""

raise ImportError("agents run without rich, as they do where only the agent is installed")

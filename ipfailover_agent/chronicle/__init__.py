"""What happened, and what is known at the moment."""

"""Reading variables: from text to settings."""

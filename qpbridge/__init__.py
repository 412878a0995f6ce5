"""qpbridge."""

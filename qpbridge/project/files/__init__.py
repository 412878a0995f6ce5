"""Files that are never half-written, and one writer at a time."""

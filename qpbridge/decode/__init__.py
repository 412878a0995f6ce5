"""Maps that a network drew, to instances, to outlines."""

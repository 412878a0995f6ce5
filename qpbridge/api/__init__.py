"""The verbs: one for each command, with all that the command does; `qpbridge` itself shows them."""

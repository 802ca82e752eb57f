"""The step, the loop and what survives a kill."""

"""Grids of runs: expand one, train and score its cells, render the table."""

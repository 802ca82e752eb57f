"""Whole slides: opened safely, cut into tissue tiles by worker processes that may die."""

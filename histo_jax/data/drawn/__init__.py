"""Drawn tissue: slides that can be made anywhere, and look enough like H&E to run on.

It shows that a program works and says nothing about patients.
"""

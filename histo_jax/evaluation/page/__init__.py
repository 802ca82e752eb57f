"""`report.html`: what it shows, in words and pictures, each section a file."""

from histo_jax.evaluation.page.build import FILE, SECTIONS, build, write

__all__ = ["FILE", "SECTIONS", "build", "write"]

"""Drops: how one is delivered, read, judged row by row, compared with its window, and which version of it counts."""

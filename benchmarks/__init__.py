"""Measurements with targets: ratios taken in one run, a table, and one closing line; exit 1 when a target is missed."""

"""Nights run by hand or by rehearsal: in one process, replayed, run again after a correction, scored."""

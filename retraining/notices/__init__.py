"""Telling people: what is told and how grave it is, once for each fact, sent wherever they look, until it arrives.

Whoever has something to tell calls `tell` (`telling.py`), which keeps it and takes no time. The watch sends it.
"""

"""The component that turns the drops of a window into split, weighted examples, and its rules.

Nothing is imported here: all but `component`, `driver` and `executor` is standard library only.
"""

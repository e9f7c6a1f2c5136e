"""Our own TFX components, one file or folder each.

Nothing is imported here: the command line reads the contract of a drop without TFX.
"""

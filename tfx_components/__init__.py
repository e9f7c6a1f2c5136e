"""Our own TFX components, one file or folder each."""

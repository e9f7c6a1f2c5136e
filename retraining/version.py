"""Which version of this project this is; a release has a tag of the same name: CONTRIBUTING.md says how it is made."""

VERSION = "0.2.0.dev0"
"""As PEP 440 writes it; between releases the next one, with `.dev0` behind it."""
FIRST = "0.1.0"
"""The first that has a tag; it kept no note of which version ran last."""

"""How an attempt at a component is launched, and how MLMD remembers it."""

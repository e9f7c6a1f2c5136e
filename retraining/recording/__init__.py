"""How components are launched, and how MLMD remembers attempts and rollbacks."""

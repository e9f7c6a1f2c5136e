"""The pipelines, in data order, and what they share. Wiring only."""

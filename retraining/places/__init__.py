"""Where a service lies, as lineage keeps it, and what is done when it has moved."""

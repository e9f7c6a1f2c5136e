"""What the service keeps of its past and what it lets go: old artifacts, served versions, logs."""

"""What keeps a service through the years, beside its nights: a file for each thing that is done to it."""

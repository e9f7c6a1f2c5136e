"""What tells people: notices, and the program that sees when a night comes to no verdict."""

"""What tells people: notices, the program that sees when a night comes to no verdict, what the model servers answer."""

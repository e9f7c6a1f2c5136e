"""What keeps a service for years: a backup of it while it runs, and the way back from one."""

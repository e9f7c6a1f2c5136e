"""Start at boot: the service as a unit of systemd, and the process that systemd knows it by."""

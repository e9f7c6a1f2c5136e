"""The plain Airflow parts beside the TFX nodes: waiting for a drop, choosing what to run on, and telling people."""

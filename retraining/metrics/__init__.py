"""The endpoint that Prometheus reads: how nights, models, disks and programs stand, and what Airflow counts."""

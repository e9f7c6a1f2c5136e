"""What other systems are told of a night, as OpenLineage has it: off unless OPENLINEAGE_URL is set.

Airflow's provider sends the events; here is what our nodes add to them, and where they go: docs/openlineage.md.
"""

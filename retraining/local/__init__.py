"""The one-box runtime: an embedded Postgres and Airflow's processes, kept by a supervisor.

Nothing here may import tfx, tensorflow or airflow: those run in processes of their own.
"""

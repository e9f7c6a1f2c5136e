"""What the command line shows: progress, summaries and the doctor's findings.

Nothing here may import tfx, tensorflow or airflow: `retraining --help` must answer at once.
"""

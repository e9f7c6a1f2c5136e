"""The command line: its groups of commands, and what they show.

Nothing here may import tfx, tensorflow or airflow: `retraining --help` must answer at once.
"""

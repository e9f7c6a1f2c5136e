"""What keeps a service for years: a backup of it while it runs, and the way back from one.

Nothing here may import tfx, tensorflow or airflow: those run in processes of their own.
"""

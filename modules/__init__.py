"""What a modeller edits: features, preprocessing, the network, its training and its signatures.

Nothing here knows of Airflow, of the pipeline or of where data come from.
"""

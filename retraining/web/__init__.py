"""The pages about headlines inside Airflow's web UI: what each one shows, and who may see it.

Nothing of TFX or TensorFlow is imported here; templates and scripts are in plugins/, where Airflow finds them.
"""

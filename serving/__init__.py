"""The model server: pushed models behind TensorFlow Serving's REST API, with a page and `related` for people.

Self-contained: it imports nothing else of this project, and nothing of TFX or Airflow.
"""

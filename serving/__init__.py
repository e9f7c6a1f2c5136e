"""The model server: pushed models over TensorFlow Serving's REST and gRPC and Open Inference, and a page for people.

Self-contained: it imports nothing else of this project, and nothing of TFX or Airflow.
"""

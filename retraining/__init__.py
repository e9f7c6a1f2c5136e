"""The project's own glue: settings, the pipeline, clean lineage, the one-box runtime and the read side.

Nothing heavy is imported here: `import retraining` must stay instant for the command line and the web server.
"""

"""The menu of the pages: what Airflow's own menu and the bar on every page lead to."""

MENU = {
    "Now serving": "serving",
    "Nights": "nights",
    "Models": "models",
    "Drift": "drift",
    "Recall": "recall",
    "Compare": "compare",
    "Graph": "graph",
    "Scoring": "scores",
    "Tuning": "tuning",
    "Notes": "notes",
}
"""By what an entry says the view of `HeadlinesView` that it leads to, in the order in which they are shown."""

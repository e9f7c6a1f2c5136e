"""The menu of the pages: what Airflow's own menu and the bar on every page lead to."""

MENU = {
    "Now serving": "serving",
    "Nights": "nights",
    "Models": "models",
    "Recall": "recall",
    "Compare": "compare",
    "Graph": "graph",
}
"""By what an entry says the view of `HeadlinesView` that it leads to, in the order in which they are shown."""

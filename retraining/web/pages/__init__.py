"""What each page shows, from questions to lineage: plain values that a template draws and a script gets as JSON.

A module for each page, named as its template and its route are.
"""

from retraining.web.pages.check import check, quality_bar
from retraining.web.pages.drift import drift
from retraining.web.pages.drop import rows
from retraining.web.pages.graph import execution, graph, newest_attempt
from retraining.web.pages.model import compare, model
from retraining.web.pages.models import models
from retraining.web.pages.night import night, quarantine
from retraining.web.pages.nights import nights
from retraining.web.pages.notes import notes
from retraining.web.pages.recall import recall
from retraining.web.pages.rollback import rollback_choices
from retraining.web.pages.scores import scores
from retraining.web.pages.serving import now_serving
from retraining.web.pages.tuning import tuning

__all__ = [
    "check",
    "compare",
    "drift",
    "execution",
    "graph",
    "model",
    "models",
    "newest_attempt",
    "night",
    "nights",
    "notes",
    "now_serving",
    "quality_bar",
    "quarantine",
    "recall",
    "rollback_choices",
    "rows",
    "scores",
    "tuning",
]

"""The quality bar: how a candidate's answers are counted and what it must show to be blessed."""

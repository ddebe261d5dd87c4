"""The arms a study may hold: one file a method, listed by name in `experiments/tables.py`."""

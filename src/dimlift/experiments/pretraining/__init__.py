"""The ways of learning from volumes without labels, or from pictures: one file a method, listed in `tables.py`."""

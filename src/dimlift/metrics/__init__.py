"""Numbers about predictions: numpy and scipy only. Undefined is None, and is counted, never averaged."""

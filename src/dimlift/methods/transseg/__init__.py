"""TransSeg."""

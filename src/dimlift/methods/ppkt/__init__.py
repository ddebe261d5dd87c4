"""PPKT: contrast between points and the pixels that show them."""

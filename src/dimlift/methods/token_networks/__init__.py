"""Options shared by the methods that pass volume tokens to a 2D vision transformer."""

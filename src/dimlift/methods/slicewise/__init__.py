"""2D network applied slice by slice."""

"""Preprocessing: from the files of a case to the input of a network, and from its output back to the files' grid."""

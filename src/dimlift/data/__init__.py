"""Reading: files to cases, cases to samples, samples to batches.

From the outside in: `nifti` reads one file to its last byte, `dataset` finds the cases of a folder, `check` says what
is wrong with them, `preprocessing` turns a case into arrays and back, `splits` keeps patients apart, `patches` makes
batches.
"""

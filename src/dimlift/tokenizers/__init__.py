"""From volumes to tokens: what each token says, and where it is."""

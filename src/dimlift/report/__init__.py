"""From records to one page a stranger can read. No torch, no network: what is shown was written down by a run."""

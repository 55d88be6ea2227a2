"""Worker processes: the only ones that touch torch, and the ones that may be killed."""

"""torch.func, from afar: the same transforms, computed on a server."""

"""The server: it evaluates graphs with torch.func, in worker processes. Importing this package loads nothing else."""

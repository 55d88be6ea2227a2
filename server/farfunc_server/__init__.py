"""farfunc's server: it keeps functions and differentiates them with torch.func.

Importing this package imports nothing else; ``farfunc serve`` starts a server.
"""

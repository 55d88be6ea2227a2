"""``farfunc tenants``, ``farfunc tokens``, ``farfunc db``: what is done to a server's storage, beside the server.

They take the same settings as ``farfunc serve``, and work whether or not a server runs.
"""

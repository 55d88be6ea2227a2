"""Jobs: evaluations that outlive the request that asked for them, the server and its workers."""

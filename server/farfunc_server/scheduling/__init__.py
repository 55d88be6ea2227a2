"""Who runs next, where, and until when."""

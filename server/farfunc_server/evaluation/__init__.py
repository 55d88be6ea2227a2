"""From a graph to numbers. Only worker processes import this package: it needs torch."""

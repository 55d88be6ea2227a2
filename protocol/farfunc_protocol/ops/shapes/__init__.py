"""Shape rules: the types of an operator's results from the types of its operands, without torch."""

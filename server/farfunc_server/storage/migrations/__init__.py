"""The history of the schema: what turned each version into the next, with the data, and back."""

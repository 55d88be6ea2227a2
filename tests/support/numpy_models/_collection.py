"""Where the models are gathered."""

MODELS = []


def model(x):
    """Add a function with its argument to ``MODELS``."""

    def add(function):
        MODELS.append((function, x))
        return function

    return add

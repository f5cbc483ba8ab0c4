"""The network that ships with the package: its shape, its synthetic training data, its training and its weights."""

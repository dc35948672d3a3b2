"""How the network of a step is spread over processes and over time."""

"""What computes the operations: a module for each backend with a function of the same name for each operation."""

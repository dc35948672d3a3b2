"""What is looked at in a file before anything of it is built."""

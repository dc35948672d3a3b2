"""ReCon++ outside its networks: comparison with published numbers."""

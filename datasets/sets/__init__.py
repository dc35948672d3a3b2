"""Data sets that need one module each. Modules are imported when a name is looked up."""

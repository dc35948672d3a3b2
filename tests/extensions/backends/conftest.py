"""Tests of kernels are collected where Triton is: it comes with torch on Linux."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("triton") else ["test_triton.py", "test_triton_kernels.py"]

#!/usr/bin/env bash
# Checks the types of the package with mypy: scripts/check_types.sh [further arguments of mypy]
# mypy finds modules by their folders and knows nothing of the mapping in pyproject.toml, so it gets a folder of links.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-${VENV:-.venv}/bin/python}
tree=build/types/pointrecon
rm -rf "$tree"
mkdir -p "$tree"
for part in datasets extensions models tools utils; do ln -s "../../../$part" "$tree/$part"; done
for file in tools/api/*; do ln -s "../../../$file" "$tree/${file##*/}"; done
rm -rf "$tree/__pycache__"
MYPYPATH=build/types exec "$python" -m mypy -p pointrecon --config-file pyproject.toml "$@"

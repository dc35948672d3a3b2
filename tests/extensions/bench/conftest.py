"""The programs of scripts/ import what stands beside them; so do their tests."""

import sys

from tests import ROOT

sys.path.append(str(ROOT / "scripts"))

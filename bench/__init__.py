"""Measurements, each against what stands beside it in the same run. `make bench` prints the tables."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend")]  # the tables start servers and processes as the tests do

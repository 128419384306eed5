"""Where this checkout lies, for tests that start processes of their own."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
HELPERS = Path(__file__).parent

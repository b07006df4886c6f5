"""NeoForge: the backend that a founder owns."""

__version__ = "0.1.0"

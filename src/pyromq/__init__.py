"""A message server that speaks Apache RocketMQ: Python decides, a small Rust engine moves bytes."""

__version__ = "0.1.0"

__all__ = ["__version__"]

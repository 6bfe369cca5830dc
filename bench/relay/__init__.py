"""The relay's benchmark: see bench/README.md."""

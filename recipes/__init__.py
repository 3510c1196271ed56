"""Scripts that train: each reads top to bottom and runs by `python recipes/NAME.py` or `kerazoo train NAME`."""

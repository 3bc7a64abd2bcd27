"""The parts of the benchmark ``packaging``: models, rows, tools, and what is made of them."""

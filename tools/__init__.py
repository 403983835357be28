"""What keeps the collection in order, run from the checkout: `python -m tools.run`, and so on."""

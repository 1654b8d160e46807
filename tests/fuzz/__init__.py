"""Everything that reads what strangers made, fed with what strangers could make.

``targets`` says what is called and what may come of it, ``mutate`` makes inputs, ``loop`` runs one
target. ``python -m benchmarks.fuzz`` is the long run, by coverage where atheris is installed; the
tests here are a short one, and every input that once found something.
"""

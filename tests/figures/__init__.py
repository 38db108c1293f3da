"""What is promised in figures, each beside the command that shows it: ``python -m tests.figures``.

``rows`` lists the promises; ``telling`` is how a test or a command says a figure; ``running`` runs
what a row names and judges what it said; ``__main__`` prints the table and keeps it in
``benchmarks/results/figures.json``. A promise more is an entry in ``rows``.
"""

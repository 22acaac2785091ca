"""A choice among combinations in which every two values of two parameters that can meet do meet."""

import itertools
import random


def pairwise(rows, seed, better=lambda row: 0):
    """Rows of `rows` (tuples of equal length), drawn with the seed. `better`: which one of equal worth."""
    def meetings(row):
        return set(itertools.combinations(enumerate(row), 2))

    rows = list(rows)
    random.Random(seed).shuffle(rows)
    missing, chosen = set().union(*map(meetings, rows)), []
    while missing:
        best = max(rows, key=lambda row: (len(meetings(row) & missing), better(row)))
        chosen.append(best)
        missing -= meetings(best)
    return chosen

"""What k of n answers to a problem are worth, expected over all subsets of k: their majority, or the best scored."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from fractions import Fraction
from itertools import groupby
from math import comb


def majority_at_k(answers: Sequence[Hashable | None], right: Sequence[float], k: int) -> float:
    """maj@k: how right the majority of k answers is, drawn without replacement from these n, by exact expectation
    (Wang et al. 2022, arXiv 2203.11171, vote so; cons@k of DeepSeek-R1, arXiv 2501.12948).

    answers: [n] what is voted for; None: an answer that cannot be read, which does not vote. right: [n] 1 or 0, or a
    share; answers that read the same share their mean. Of several that get most votes each is taken equally often;
    where nobody votes, nothing is right.

    With counts a_1 .. a_m of the m different answers and u unread ones, the majority of a subset is answer i with t
    votes, tied with j others, in comb(a_i, t) * [z^(k-t) y^j] (1+z)^u prod_l (sum_{x<t} comb(a_l, x) z^x + y
    comb(a_l, t) z^t) subsets, l running over the other answers; it is then taken with chance 1 / (j + 1). The sum over
    all i and t is divided by comb(n, k). Counted in whole numbers, so that nothing is rounded before the end.
    """
    n = len(answers)
    if not (1 <= k <= n and len(right) == n):
        raise ValueError(f"k is from 1 to the {n} answers, each with how right it is; it is {k}")
    merits: dict[Hashable, list[float]] = defaultdict(list)
    for answer, value in zip(answers, right, strict=True):
        if answer is not None:
            merits[answer].append(value)
    sizes = Counter(len(values) for values in merits.values())
    unread = n - sum(map(len, merits.values()))
    merit_of_size = {
        size: sum(sum(values) / size for values in merits.values() if len(values) == size) for size in sizes
    }
    total = Fraction(0)
    for size, merit in merit_of_size.items():
        if merit:
            others = sizes - Counter({size: 1})
            wins = sum(comb(size, t) * _ways(others, unread, t, k - t) for t in range(1, min(size, k) + 1))
            total += Fraction(merit) * wins
    return float(total / comb(n, k))


def best_at_k(scores: Sequence[float], right: Sequence[float], k: int) -> float:
    """How right the answer with the highest score is, of k drawn without replacement from these n, by exact
    expectation; of several with that score each is taken equally often."""
    n = len(scores)
    if not (1 <= k <= n and len(right) == n):
        raise ValueError(f"k is from 1 to the {n} answers, each with how right it is; it is {k}")
    ordered = sorted(zip(scores, right, strict=True), key=lambda pair: -pair[0])
    expected, above = 0.0, 0
    for _, level in groupby(ordered, key=lambda pair: pair[0]):
        values = [value for _, value in level]
        chance = (comb(n - above, k) - comb(n - above - len(values), k)) / comb(n, k)
        expected += chance * sum(values) / len(values)
        above += len(values)
    return expected


def _ways(others: Counter[int], unread: int, most: int, rest: int) -> Fraction:
    """In how many ways `rest` votes fall on other answers, so many of each size, or on unread ones, none getting more
    than `most` votes; each way is weighted by 1 / (1 + the number of those that get as many)."""
    free = unread + sum(size * count for size, count in others.items() if size < most)
    polynomial = {(drawn, 0): comb(free, drawn) for drawn in range(min(free, rest) + 1)}
    for size in (size for size, count in others.items() if size >= most for _ in range(count)):
        product: dict[tuple[int, int], int] = defaultdict(int)
        for (drawn, tied), ways in polynomial.items():
            for votes in range(min(most, rest - drawn) + 1):
                product[drawn + votes, tied + (votes == most)] += ways * comb(size, votes)
        polynomial = product
    return sum((Fraction(ways, tied + 1) for (drawn, tied), ways in polynomial.items() if drawn == rest), Fraction(0))

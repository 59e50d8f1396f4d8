"""The published algorithms, written out literally in float64, apart from everything they check.

Nothing here imports torch or a LightRFT package, and nothing is shared with one: plain loops over answers and tokens,
one function a formula, each naming its paper. `case.py` holds the inputs, `row.py` a whole loss, `rows.py`
each algorithm's numbers.
"""

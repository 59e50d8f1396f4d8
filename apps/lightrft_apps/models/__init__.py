"""The models of a run: loaded, adapted, laid out on processes and devices."""

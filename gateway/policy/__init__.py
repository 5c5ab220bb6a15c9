"""The policy ring: attempts and facts in, verdicts out. Pure: no clock, file, socket, log or database.

Rules of this package: facts.py says what is so, the rule modules what follows from it, profile.py whether
that counts, judge.py puts the three together. It knows nothing of protocols, records or the registry's
storage. A part imports of it what it runs: the patterns of replies take 0.1 s to make ready.
"""

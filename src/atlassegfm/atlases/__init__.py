"""Several atlases: which of them serve a query, their labels carried over and voted into one prior.

This module is light; what computes is imported when it is first used.
"""

#: How the labels of several atlases become one, the default first.
LABEL_FUSIONS = ("joint", "weighted", "majority", "staple")
#: Atlases used at most unless told otherwise: time grows with each, and each brings less than the one before.
MOST_ATLASES = 5

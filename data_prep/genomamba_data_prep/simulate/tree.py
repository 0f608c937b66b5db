"""The great apes' tree: ((((human), (chimpanzee, bonobo)), gorilla), orangutan).

A branch's length is its expected number of substitutions a site. The lengths are those of the
clocklike tree with the published genome-wide nucleotide divergences: human-chimpanzee 1.37 %,
human-gorilla 1.75 %, human-orangutan 3.40 % (Scally et al. 2012, Nature 483:169) and
chimpanzee-bonobo 0.40 % (Prüfer et al. 2012, Nature 486:527). Insertions of Alu and L1 are
published counts of lineage-specific elements over 2,900 Mb: Alu about 7,000 human and 2,300
chimpanzee (Chimpanzee Sequencing and Analysis Consortium 2005, Nature 437:69; bonobo taken alike),
1,075 gorilla (McLain et al. 2013, Mobile DNA 4:26) and about 250 orangutan (Locke et al. 2011,
Nature 469:529); L1 1,200 to 2,000 a lineage in human and chimpanzee (Lee et al. 2007, Gene 390:18),
elsewhere in proportion to branch length. The rates of Alu on ancestral branches lie between those
of their descendants.
"""

from __future__ import annotations

from typing import NamedTuple

SPECIES = ("human", "chimpanzee", "bonobo", "gorilla", "orangutan")
ROOT = "ancestor"


class Branch(NamedTuple):
    """From a node's parent to the node.

    Attributes:
        node: a species or an ancestor.
        parent: the node above.
        length: substitutions a site.
        alu: insertions of Alu a Mb at signal strength 1.
        l1: insertions of L1 a Mb at signal strength 1.
    """

    node: str
    parent: str
    length: float
    alu: float
    l1: float


BRANCHES = (  # parents first
    Branch("african-apes", ROOT, 0.00825, alu=1.0, l1=0.6),
    Branch("human-pan", "african-apes", 0.00190, alu=0.3, l1=0.14),
    Branch("pan", "human-pan", 0.00485, alu=0.56, l1=0.35),
    Branch("human", "human-pan", 0.00685, alu=2.4, l1=0.5),
    Branch("chimpanzee", "pan", 0.00200, alu=0.23, l1=0.15),
    Branch("bonobo", "pan", 0.00200, alu=0.23, l1=0.15),
    Branch("gorilla", "african-apes", 0.00875, alu=0.37, l1=0.64),
    Branch("orangutan", ROOT, 0.01700, alu=0.09, l1=1.24),
)


def path(node: str) -> list[Branch]:
    """The branches from the root to a node."""
    for branch in BRANCHES:
        if branch.node == node:
            return [*path(branch.parent), branch]
    return []


def distance(first: str, second: str) -> float:
    """Substitutions a site between two species, along the tree."""
    return sum(branch.length for branch in set(path(first)) ^ set(path(second)))

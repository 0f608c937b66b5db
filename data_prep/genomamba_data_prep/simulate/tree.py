"""The great apes."""

from __future__ import annotations

SPECIES = ("human", "chimpanzee", "bonobo", "gorilla", "orangutan")

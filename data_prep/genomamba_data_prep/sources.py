"""The published files that `genomamba prepare download` fetches: where they are, what is known.

Facts: URLs of the hg38 set as in the data instructions of HyenaDNA and Caduceus
(github.com/HazyResearch/hyena-dna, github.com/kuleshov-group/caduceus); the assemblies' accessions
as in Nurk et al. 2022, Science 376:44 (T2T-CHM13) and Yoo et al. 2025, Nature 641:401 (apes), their
places by NCBI's rule for genomes/all. NCBI has renamed the apes' folders from v2.0 to v2.1 under
the same accession; both names are in use in public code and are tried in turn.

A checksum that is None is not known to us. NCBI publishes md5checksums.txt in each assembly's
folder; it is fetched and used. For the hg38 set there is none: size and gzip are checked, and the
SHA-256 of what came is kept in the lock file, so that it cannot change unnoticed.
"""

from __future__ import annotations

from typing import NamedTuple

NCBI = "https://ftp.ncbi.nlm.nih.gov/genomes/all"
BASENJI = "https://storage.googleapis.com/basenji_barnyard2"


class RemoteFile(NamedTuple):
    """A published file.

    Attributes:
        name: its name in the output folder.
        species: whose genome it is; "" for what is no genome.
        assembly: the assembly's name.
        accession: NCBI's, or "".
        urls: where it is; the next one is tried where one says that it has no such file.
        bytes: its size, where that is known.
        checksum: "md5:..." or "sha256:...", where that is known.
        checksums: name of a file beside it, in the format of md5sum, that the publisher keeps.
        source: whence these facts are.
    """

    name: str
    species: str
    assembly: str
    accession: str
    urls: tuple[str, ...]
    bytes: int | None = None
    checksum: str | None = None
    checksums: str | None = None
    source: str = ""


def _ncbi(species: str, accession: str, *assemblies: str, source: str) -> RemoteFile:
    """A RefSeq genome; its folder is named by accession and assembly, the digits in threes."""
    digits = accession.removeprefix("GCF_").split(".")[0]
    folder = "/".join(digits[i : i + 3] for i in (0, 3, 6))
    names = [f"{accession}_{assembly}" for assembly in assemblies]
    return RemoteFile(
        name=f"{species}.fna.gz",
        species=species,
        assembly=assemblies[0],
        accession=accession,
        urls=tuple(f"{NCBI}/GCF/{folder}/{name}/{name}_genomic.fna.gz" for name in names),
        checksums="md5checksums.txt",
        source=source,
    )


def _ape(species: str, accession: str, individual: str) -> RemoteFile:
    versions = (f"NHGRI_{individual}-v2.1_pri", f"NHGRI_{individual}-v2.0_pri")
    return _ncbi(species, accession, *versions, source="Yoo et al. 2025; NCBI genomes/all")


SETS: dict[str, tuple[RemoteFile, ...]] = {
    "hg38": (
        RemoteFile(
            name="hg38.ml.fa.gz",
            species="human",
            assembly="hg38",
            accession="",
            urls=(f"{BASENJI}/hg38.ml.fa.gz",),
            source="data instructions of HyenaDNA and Caduceus",
        ),
        RemoteFile(
            name="sequences_human.bed",
            species="",
            assembly="hg38",
            accession="",
            urls=(f"{BASENJI}/sequences_human.bed",),
            source="the same; Basenji2's intervals, Kelley 2020, PLoS Comput Biol 16:e1008050",
        ),
    ),
    "great-apes": (
        _ncbi(
            "human",
            "GCF_009914755.1",
            "T2T-CHM13v2.0",
            source="Nurk et al. 2022; NCBI genomes/all",
        ),
        _ape("chimpanzee", "GCF_028858775.2", "mPanTro3"),
        _ape("bonobo", "GCF_029289425.2", "mPanPan1"),
        _ape("gorilla", "GCF_029281585.2", "mGorGor1"),
        _ape("orangutan", "GCF_028885655.2", "mPonAbe1"),
    ),
}

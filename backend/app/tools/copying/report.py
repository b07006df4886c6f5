"""What a copy says of itself, for people and for programs."""

from app.schemas.base import Output, Timestamp


class CopiedTable(Output):
    table: str
    rows: int
    bytes: int
    source: str
    """The checksum of what was read, hexadecimal."""
    target: str
    """Of what stands there now."""
    is_filled_alike: bool
    """Whether each column has as many values as the source's: this is counted without the lines of the checksums."""

    @property
    def is_proven(self) -> bool:
        return self.source == self.target and self.is_filled_alike


class Report(Output):
    """A copy that was made, or undone."""

    source: str
    target: str
    revision: str
    began: Timestamp
    loaded_seconds: float
    proven_seconds: float
    tables: list[CopiedTable]
    left_out: int
    is_masked: bool
    is_resumed: bool
    """Whether each table was committed by itself."""

    @property
    def is_proven(self) -> bool:
        return all(one.is_proven for one in self.tables)

    def lines(self) -> list[str]:
        """The report for people."""
        rows = sum(one.rows for one in self.tables)
        rate = rows / self.loaded_seconds if self.loaded_seconds else 0
        width = max(len(one.table) for one in self.tables)
        said = [
            f"{one.table:{width}}  {one.rows:>12,} rows  {one.source}  "
            + ("equal" if one.is_proven else f"DIFFERS: {one.target}")
            for one in self.tables
        ]
        left = f", {self.left_out:,} left out" if self.left_out else ""
        left += ", masked" if self.is_masked else ""
        times = f"loaded in {self.loaded_seconds:.1f} s ({rate:,.0f} rows/s), compared in {self.proven_seconds:.1f} s"
        undone = "undone: the tables above that are equal stand" if self.is_resumed else "undone: the target is empty"
        end = "committed: every row is there" if self.is_proven else undone
        return [*said, f"{rows:,} rows{left}, revision {self.revision}; {times}", end]

"""What is known of an object before it is fetched."""

from typing import NamedTuple


class Facts(NamedTuple):
    """size_bytes: None where nobody says. label: its ETag, or when it changed last; "" where nobody says."""

    size_bytes: int | None = None
    label: str = ""

    @property
    def tell(self) -> bool:
        """Whether another version would have others."""
        return self.size_bytes is not None and self.label != ""

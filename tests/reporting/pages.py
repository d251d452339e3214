"""The pages that people read, taken apart into their code blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```([a-z]*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A code block; with a title it is a file."""

    page: str
    language: str
    title: str
    text: str

    @property
    def commands(self):
        """The lines of a shell, without comments."""
        lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in self.text.splitlines())
        return [line for line in lines if line] if self.language == "bash" else []


def blocks(page):
    name = page.relative_to(ROOT).as_posix()
    return [Block(name, *found) for found in FENCE.findall(page.read_text())]


BLOCKS = {page.relative_to(ROOT).as_posix(): blocks(page) for page in PAGES}
COMMANDS = [(name, line) for name, found in BLOCKS.items() for b in found for line in b.commands]
"""Page and line; the same line stands on several pages."""
INLINE = [
    (page.relative_to(ROOT).as_posix(), f"python -m efat.run {arguments}")
    for page in PAGES
    for arguments in re.findall(r"`python -m efat\.run ([^`]+)`", page.read_text())
]

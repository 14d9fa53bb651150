"""Write the table of the reference study, as its results say, into README.md: `python docs/readme_table.py`. A test holds the two together."""

from __future__ import annotations

import re
from pathlib import Path

from sweeps.core.study_table import study_markdown

ROOT = Path(__file__).parents[1]
STUDY = "reference"
BLOCK = re.compile(r"(<!-- docs/readme_table.py writes this table -->\n).*?(\n<!-- end -->)", re.DOTALL)


def with_table(readme: str) -> str:
    """The README with the table of today's results."""
    table = study_markdown(ROOT / "results" / "reference", STUDY)
    changed, found = BLOCK.subn(lambda match: match[1] + table + match[2], readme)
    if found != 1:
        raise ValueError(f"README.md has one block for the table, but {found} were found")
    return changed


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")

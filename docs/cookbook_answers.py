"""Write the answers of docs/cookbook.md, as its own code gives them, into it: `python docs/cookbook_answers.py`. A test holds the two together."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cookbook.md"
CODE = re.compile(r"```(python|sql|text)\n(.*?)```\n", re.DOTALL)
WIDTH = 200


class Notebook:
    """Runs the page's blocks one after another: its pandas and its SQL each remember what came before. To be used in the repository's root."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.database = duckdb.connect()

    def python(self, code: str) -> str | None:
        """What a notebook would show of the last line; None where that is no value."""
        *before, last = ast.parse(code).body
        exec(compile(ast.Module(before, []), "cookbook", "exec"), self.names)
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), "cookbook", "exec"), self.names)
            return None
        return shown(eval(compile(ast.Expression(last.value), "cookbook", "eval"), self.names))

    def sql(self, code: str) -> str | None:
        """The answer of a query; None of other statements."""
        if not code.lstrip().lower().startswith(("select", "with")):
            self.database.execute(code)
            return None
        return shown(self.database.execute(code).df())


def shown(frame: pd.DataFrame) -> str:
    """As text, whichever of the two it came from."""
    return frame.to_string(index=False, line_width=WIDTH) + "\n"


def with_answers(page: str) -> str:
    """The page with today's answers. ValueError where the two answers to a question are not equal."""
    notebook, answers = Notebook(), {"python": "", "sql": ""}

    def replace(match: re.Match[str]) -> str:
        language, code = match.groups()
        if language == "text":
            if answers["python"] != answers["sql"]:
                raise ValueError(
                    f"both answers to a question are equal, but pandas says\n{answers['python']}\nand DuckDB\n{answers['sql']}"
                )
            return f"```text\n{answers['sql']}```\n"
        answers[language] = getattr(notebook, language)(code) or ""
        return match[0]

    return CODE.sub(replace, page)


if __name__ == "__main__":
    os.chdir(ROOT)
    answered = with_answers(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(answered, encoding="utf-8")

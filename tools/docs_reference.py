"""Pages of the documentation site that are made from the package: the reference, and the README as its first page.

``mkdocs build`` calls the functions by their names (hooks). A module becomes a page when it has a public class or
function; folders become sections. Links of the README to files of the repository lead to their text on the site's own
pages where there is one, else they keep their path.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGES = ("seqgen", "serving")


def public(path: Path) -> bool:
    """Whether a module has anything that others may use."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    named = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, named) and not node.name.startswith("_") for node in body)


def modules() -> list[str]:
    """Dotted names of all modules with a page, in the order of their files."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__init__.py" and path.name != "__main__.py" and public(path):
                found.append(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return found


def front_page(readme: str) -> str:
    """The README with links that hold from inside ``docs/``."""

    def moved(match: re.Match[str]) -> str:
        text, target = match.groups()
        if "://" in target:
            return match.group(0)
        return f"[{text}]({target.removeprefix('docs/')})" if target.startswith("docs/") else text

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)]+)\)", moved, readme).replace("](docs/", "](")


def on_config(config: Any) -> Any:
    """Add the reference to the navigation."""
    sections: dict[str, list[dict[str, str]]] = {}
    for name in modules():
        folder = name.rpartition(".")[0]
        sections.setdefault(folder, []).append({name: f"reference/{name}.md"})
    config.nav = [*config.nav, {"Reference": [{folder: pages} for folder, pages in sections.items()]}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=front_page(readme)))
    for name in modules():
        files.append(File.generated(config, f"reference/{name}.md", content=f"# {name}\n\n::: {name}\n"))
    return files

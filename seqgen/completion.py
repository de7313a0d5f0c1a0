"""Shell completion of a command line, written by shtab from the parser itself, so that it knows what the parser knows.

What an argument takes is read from its definition: its ``choices``; a path where its type is ``Path`` or its metavar is
``FILE``, ``PATH``, ``DIR`` or ``BUNDLE``; and the names of a registry that :func:`offer` was told of.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

SHELLS = ("bash", "zsh", "fish")
_DIRECTORIES = frozenset({"DIR", "BUNDLE"})
_FILES = frozenset({"FILE", "PATH"})
_OFFERED = "offered"


def offer(action: argparse.Action, names: Iterable[str]) -> None:
    """Names that complete an argument whose values are checked elsewhere; read when a script is written."""
    setattr(action, _OFFERED, names)


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Completion script of a fresh parser, which is changed by it."""
    import shtab  # only here: a command line that is parsed needs none of it

    for action in _actions(parser):
        names = getattr(action, _OFFERED, None)
        if names is not None:
            action.choices = list(names)
        elif action.choices is None and action.nargs != 0:
            if action.metavar in _DIRECTORIES:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif action.metavar in _FILES or action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell) + "\n"


def add_parser(commands: argparse._SubParsersAction, name: str, whole: Callable[[], argparse.ArgumentParser]) -> None:  # type: ignore[type-arg]
    """Add the sub-command ``completion``; ``whole`` makes the parser of the whole command ``name``."""
    command = commands.add_parser(
        "completion",
        help="complete this command in a shell by the tabulator key",
        description=_HELP.format(name=name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("shell", choices=SHELLS)

    def run(given: argparse.Namespace) -> int:
        sys.stdout.write(script(whole(), given.shell))
        return 0

    command.set_defaults(run=run, command=run)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _actions(one)
        else:
            yield action


_HELP = """\
Print a script that completes sub-commands, options, names and files of `{name}`.

  bash   {name} completion bash > ~/.local/share/bash-completion/completions/{name}
  zsh    {name} completion zsh > ~/.zfunc/_{name}      # ~/.zshrc: fpath+=~/.zfunc; autoload -U compinit; compinit
  fish   {name} completion fish > ~/.config/fish/completions/{name}.fish

For the present shell alone: `eval "$({name} completion bash)"`, likewise zsh; `{name} completion fish | source`.
"""

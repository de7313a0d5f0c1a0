"""Command-line options that several commands share, and the file that may hold them."""

from __future__ import annotations

import argparse
import copy
import difflib
import ipaddress
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqgen import completion, presets
from seqgen.errors import SeqgenError

_HELP = frozenset({"-h", "--help"})
_MOST = 1_000_000_000


def voice_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose which voices are served."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--voices", type=file_path, metavar="DIR", help="all voices of a store; see `seqgen-serve voices`"
    )
    which.add_argument(
        "--voice",
        "--model",
        type=file_path,
        metavar="BUNDLE",
        help="one voice or text model: a directory made by `seqgen export`",
    )
    preset = which.add_argument(
        "--preset",
        metavar="NAME",
        help=f"random weights, to measure with: e.g. {presets.without_torch()[0]}",
    )
    completion.offer(preset, presets.without_torch())


def naming_options(serve: argparse.ArgumentParser) -> None:
    """Options on the names by which voices are had."""
    serve.add_argument(
        "--default-voice",
        metavar="NAME",
        help="voice of requests that name none (default: where there are several, they have to name one)",
    )
    serve.add_argument(
        "--alias",
        action="append",
        default=[],
        metavar="NAME=VOICE",
        help="further name of an installed voice or text model, as clients of others' interfaces ask for it "
        "(alloy=VOICE, tts-1=VOICE); may be repeated",
    )


def isolation_option(parser: argparse.ArgumentParser) -> None:
    """Option that chooses whether workers are processes or threads."""
    parser.add_argument(
        "--isolation",
        choices=("process", "thread"),
        default="process",
        help="a process for each worker, whose end cuts no other's streams, or a thread (default: %(default)s)",
    )


def access_options(parser: argparse.ArgumentParser) -> None:
    """Options on who may use a server, under which names, and through what."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--keys", type=file_path, metavar="FILE", help="take requests with an API key only; see `seqgen-serve keys`"
    )
    who.add_argument(
        "--no-keys",
        action="store_true",
        help="listen on an address of other machines without keys: whoever reaches it uses the voices",
    )
    parser.add_argument("--public-metrics", action="store_true", help="GET /metrics wants no key")
    for name, example, meaning in (
        ("--allow-host", "NAME[:PORT]", "host name by which the server may be called beside localhost and its address"),
        ("--allow-origin", "ORIGIN", "origin whose pages may use the server in a browser beside the server's own"),
    ):
        parser.add_argument(
            name, metavar=example, action="append", default=[], help=f"{meaning}; may be repeated, '*' for any"
        )
    parser.add_argument(
        "--trusted-proxy",
        type=network,
        metavar="ADDRESS",
        action="append",
        default=[],
        help="address or network of a proxy whose X-Forwarded-For and -Proto are believed beside this machine's own; "
        "may be repeated",
    )
    parser.add_argument(
        "--tls-cert", type=file_path, metavar="FILE", help="certificate chain (PEM), to serve HTTPS and WSS"
    )
    parser.add_argument("--tls-key", type=file_path, metavar="FILE", help="its private key (PEM)")


def watermark_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose which sound of a server is marked in its samples."""
    which = parser.add_mutually_exclusive_group()
    for name, value, meaning in (
        ("--no-mark", "none", "leave speech unmarked, which else bears a watermark; see `seqgen-serve detect`"),
        ("--mark-all", "all", "give that watermark to what vocoders make, too"),
    ):
        which.add_argument(name, dest="watermark", action="store_const", const=value, help=meaning)
    parser.set_defaults(watermark="speech")


def wyoming_options(parser: argparse.ArgumentParser) -> None:
    """Options of the listener for clients of the Wyoming protocol."""
    parser.add_argument(
        "--wyoming-port",
        type=port,
        metavar="PORT",
        help="speak the Wyoming protocol, too, as Home Assistant asks for speech: usually 10200 (default: do not)",
    )
    parser.add_argument(
        "--wyoming-host", default="127.0.0.1", metavar="HOST", help="address for that (default: %(default)s)"
    )
    parser.add_argument(
        "--wyoming-allow",
        type=network,
        metavar="ADDRESS",
        action="append",
        default=[],
        help="address or network of other machines that may come to it, which shows no keys; may be repeated",
    )


def positive(text: str) -> int:
    """Whole number above 0, as an option's value."""
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    if len(text.lstrip("0")) > len(str(_MOST)) or int(text) > _MOST:
        raise argparse.ArgumentTypeError(f"{text[:20]}… is too much; give at most {_MOST}")
    return int(text)


def port(text: str) -> int:
    """Port number, 0 included, as an option's value."""
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port; give 0 to 65535")
    return int(text)


def file_path(text: str) -> str:
    """Path of a file or directory, as an option's value; an unset variable of a shell is none."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text is no path; leave the option out, or name a file")
    if "\0" in text:
        raise argparse.ArgumentTypeError("no path has the character of number 0; name a file")
    return text


def mode(text: str) -> int:
    """Permissions of a file in octal, as an option's value."""
    if not (text.isascii() and text.isdigit()) or not set(text) <= set("01234567") or int(text, 8) > 0o777:
        raise argparse.ArgumentTypeError(f"'{text}' is no file mode; give it in octal, for example 660")
    return int(text, 8)


def network(text: str) -> str:
    """Address or network, as an option's value."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no address; give 10.0.0.7 or 10.0.0.0/8") from None


class FileParser(argparse.ArgumentParser):
    """Parser whose options may also stand in a TOML file, named by ``--config FILE``.

    A key is an option's long name. What the command line gives wins, also over a key of the file that excludes it.
    Paths in the file are relative to its folder. The result's ``words`` are what was parsed, to read it all once more.

    Raises:
        SeqgenError: for a file that cannot be read, an unknown key, a value that its option would refuse.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, the file's words before those of the command line."""
        words = list(sys.argv[1:] if args is None else args)
        parsed, rest = super().parse_known_args([*self._words_of_file(words), *words], namespace)
        parsed.words = words
        return parsed, rest

    def read_again(self, options: argparse.Namespace) -> argparse.Namespace:
        """Result of parsing the same words again, after the file may have changed.

        Raises:
            SeqgenError: where they can no longer be parsed.
        """
        try:
            return self.parse_args(options.words)
        except SystemExit:
            raise SeqgenError(
                "the options cannot be read again", remedy=f"check with `{self.prog} --help` what is missing"
            ) from None

    def _words_of_file(self, words: list[str]) -> list[str]:
        probe = self._probe()
        try:
            given, rest = probe.parse_known_args(words)
        except argparse.ArgumentError:
            return []  # the parser itself says what is wrong with the command line
        if not getattr(given, "config", None) or _HELP & set(rest):
            return []
        return list(_file_words(Path(given.config), probe, self._set_aside(vars(given))))

    def _probe(self) -> argparse.ArgumentParser:
        """Parser of the same options that requires nothing and fills in nothing."""
        probe = argparse.ArgumentParser(add_help=False, exit_on_error=False, argument_default=argparse.SUPPRESS)
        for action in self._actions:
            if not isinstance(action, argparse._HelpAction):
                twin = copy.copy(action)
                twin.default, twin.required = argparse.SUPPRESS, False
                probe._add_action(twin)
        return probe

    def _set_aside(self, given: dict[str, Any]) -> set[str]:
        """Options that the file is not asked for: given on the command line, or excluded by one that is."""
        aside = set(given)
        for group in self._mutually_exclusive_groups:
            members = {action.dest for action in group._group_actions}
            aside |= members if members & set(given) else set()
        return aside


def config_option(parser: argparse.ArgumentParser) -> None:
    """Option that names the file of options."""
    parser.add_argument(
        "--config",
        type=file_path,
        metavar="FILE",
        help="TOML file of these options by their long names (max-body = 64); the command line wins",
    )


def _file_words(file: Path, probe: argparse.ArgumentParser, aside: set[str]) -> Iterator[str]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SeqgenError(f"{file}: {error.strerror}", remedy="name a TOML file by --config") from None
    except (ValueError, RecursionError) as error:  # wrong TOML, or bytes that are not UTF-8
        raise SeqgenError(f"{file}: {error}", remedy='write key = value lines, for example voices = "voices"') from None
    actions = {
        name.removeprefix("--"): action
        for action in probe._actions
        for name in action.option_strings
        if name.startswith("--") and action.dest != "config"
    }
    for key, value in table.items():
        if key not in actions:
            near = difflib.get_close_matches(key.replace("_", "-"), actions, n=1)
            guess = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(actions)}"
            raise SeqgenError(f"{file}: unknown key '{key}'", remedy=guess)
        words = _words(file, key, value, actions[key])
        try:
            probe.parse_args(words)
        except argparse.ArgumentError as error:
            raise SeqgenError(f"{file}: {key}: {error.message}", remedy="see `seqgen-serve serve --help`") from None
        yield from () if actions[key].dest in aside else words


def _words(file: Path, key: str, value: Any, action: argparse.Action) -> list[str]:
    """Words of a command line that one key of a file stands for."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise SeqgenError(f"{file}: {key}: {value!r} is neither true nor false", remedy=f"write {key} = true")
        return [f"--{key}"] if value else []
    several = isinstance(action, argparse._AppendAction)
    values = value if several and isinstance(value, list) else [value]
    words = []
    for one in values:
        textual = action.type in (None, file_path)
        if isinstance(one, bool) or not isinstance(one, str if textual else (str, int, float)):
            raise SeqgenError(
                f"{file}: {key}: {one!r} is not a {'text' if textual else 'number'}",
                remedy=f'write {key} = "…"' if textual else f"write {key} = a number",
            )
        text = str(file.parent / str(one)) if action.type is file_path and one else str(one)
        words.append(f"--{key}={text}")
    return words

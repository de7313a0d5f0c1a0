"""``seqgen-serve complete``: one text, without a server."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from seqgen.bundle import Bundle
from serving.streams.completion import TextRequest, completed
from serving.streams.text import TextModel, TextSettings, require_text
from serving.voices.voice import served

_LONGEST = 1 << 26  # bytes of a prompt

EXAMPLES = """\
examples:
  seqgen-serve complete "ROMEO:" --model exp/lm --max-tokens 300
  seqgen-serve complete "Once upon" --model exp/lm --temperature 0.7 --stop "." --seed 7
  head -c 500 book.txt | seqgen-serve complete - --model exp/lm --echo
  seqgen-serve complete "guten tag" --model exp/translator"""


def options(complete: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve complete``."""
    complete.add_argument("prompt", metavar="TEXT", help="text to go on with, or to translate; - reads standard input")
    complete.add_argument(
        "--model", "--voice", required=True, metavar="BUNDLE", help="directory made by `seqgen export`"
    )
    for name, kind, default, meaning in (
        ("--max-tokens", int, 200, "symbols drawn at most"),
        ("--seed", int, 0, "the same seed gives the same text"),
        ("--temperature", float, 1.0, "0 to 2; 1 is as trained, 0 the most likely"),
        ("--top-p", float, 1.0, "probability of the most likely symbols that are drawn from"),
    ):
        complete.add_argument(name, type=kind, default=default, help=f"{meaning} (default: %(default)s)")
    complete.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="text that ends it and is not written; repeatable"
    )
    complete.add_argument("--echo", action="store_true", help="write the prompt, too")
    complete.add_argument("--json", action="store_true", help="one JSON object in the end, with the text in it")
    complete.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Complete a text while it is made; tells how fast that went."""
    request = TextRequest(
        TextSettings(options.seed, options.temperature, options.top_p),
        longest=options.max_tokens,
        stops=tuple(options.stop),
        echo=options.echo,
        prompt=_LONGEST,
    )
    began = time.perf_counter()
    model = require_text(served(Bundle.open(Path(options.model))))
    request.check(model)
    loaded = time.perf_counter() - began
    prompt = sys.stdin.buffer.read() if options.prompt == "-" else os.fsencode(options.prompt)
    began, first, text, line = time.perf_counter(), 0.0, "", {}
    for line in completed(model, request, prompt):
        first = first or time.perf_counter() - began
        text += line["text"]
        if not options.json:
            sys.stdout.write(line["text"])
            sys.stdout.flush()
    times = {"first_text_ms": round(1000 * first, 2), "load_seconds": round(loaded, 4)}
    times["tokens_per_second"] = round(line["usage"][1] / (time.perf_counter() - began), 1)
    _tell(model, text, line, times, as_json=options.json)
    return 0


def _tell(model: TextModel, text: str, last: dict[str, Any], times: dict[str, float], *, as_json: bool) -> None:
    """Tell how fast a text was made, of which the last line is given."""
    read, drawn = last["usage"]
    if as_json:
        counts = {"finish_reason": last["finish_reason"], "prompt_tokens": read, "completion_tokens": drawn}
        sys.stdout.write(json.dumps({"text": text} | counts | times) + "\n")
        return
    if sys.stdout.isatty():
        sys.stdout.write("\n")
    sys.stderr.write(
        f"{drawn} {model.tokenizer.unit}s after {read}, {times['tokens_per_second']} a second, the first after "
        f"{times['first_text_ms']} ms (loaded in {times['load_seconds']:.2f} s, through {model.runtime})\n"
    )

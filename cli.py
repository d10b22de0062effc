"""The `pcpad` command."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from pcpad.commands import TRAINER_VERBS, VERBS
from pcpad.commands.errors import clean_errors
from pcpad.commands.streams import lasting_streams
from pcpad.errors import did_you_mean
from pcpad.terminal import safe_messages, say

_USAGE = """\
usage: pcpad VERB [options]

Partial convolution: its tasks, and its comparison with other paddings.

verbs:
{verbs}

examples:
  pcpad sample digits data/digits              write the small data set that the next line trains on
  pcpad fit --config cls_digits.yaml           train by a packaged recipe, or by a file of yours
  pcpad test --ckpt_path runs/cls_digits/version_0/checkpoints/best.ckpt
  pcpad test --ckpt_path … --model.padding zeros
                                               what is typed outranks a config, a config the checkpoint
  pcpad fit --help                             what most runs need; with --config NAME the task's own options first
  pcpad fit --help all                         every option of fit; PCPAD_TRACEBACK=1 for full tracebacks
  pcpad doctor                                 what is installed, found and wrong here
  pcpad fit --model.help ClassificationTask    those of a task; likewise --data.help ImageNetDataModule
"""


def usage() -> str:
    """The text of `pcpad --help`, written without importing Lightning.

    Returns:
        Usage, verbs and examples.
    """
    verbs = "\n".join(f"  {verb:<10} {text}" for verb, text in {**TRAINER_VERBS, **VERBS}.items())
    return _USAGE.format(verbs=verbs)


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: The arguments after `pcpad`; the process's own when not given.
    """
    if args is None and os.path.basename(sys.argv[0]).startswith("pcpad"):  # noqa: PTH119  # fast
        # The command's own path has no current folder in it; nor shall that of what it starts, data loaders' processes.
        os.environ.setdefault("PYTHONSAFEPATH", "1")
    with lasting_streams():
        _run(list(sys.argv[1:] if args is None else args))


def _run(args: list[str]) -> None:
    verb, rest = (args[0], args[1:]) if args else ("--help", [])
    if verb in ("--help", "-h", "help"):
        print(usage(), end="")
    elif verb == "--version":
        print(import_module("pcpad.commands.versions").version_text(), end="")
    elif verb in TRAINER_VERBS:
        with safe_messages(), clean_errors():
            _train(verb, rest)
    elif verb in VERBS:
        with safe_messages(), clean_errors():
            import_module(f"pcpad.commands.{verb}").main(rest)
    else:
        hint = did_you_mean(verb, [*TRAINER_VERBS, *VERBS], cutoff=0.6)
        if verb.startswith("-"):
            hint = " The verb comes first: pcpad fit --config …"
        say(f"pcpad: error: unknown verb {verb!r}.{hint} `pcpad --help` lists them.", file=sys.stderr)
        raise SystemExit(2)


def _train(verb: str, args: list[str]) -> None:
    if any(arg.partition("=")[0] in ("-h", "--help") for arg in args):
        short = import_module("pcpad.commands.short_help")
        if short.main(verb, args):
            return
        args = short.full_args(args)
    # albumentations asks the network for updates when it is imported.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from pcpad.commands.stopping import telling_how_to_resume

    with telling_how_to_resume(verb, args):
        import_module("pcpad.commands.run").main(verb, args)


if __name__ == "__main__":
    main()

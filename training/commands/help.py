"""How the command line helps: examples, defaults and exit codes, and a mistake in one sentence."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from typing import Any, NoReturn

from training.code_digest import ROOT
from training.code_version import code_version
from training.suggestions import meant

PROGRAM = "python -m training"
EXIT_CODES = """\
exit codes:
  0    done; what was asked for is on standard output, everything else on standard error
  1    a mistake of Usher's own, with a traceback that is worth reporting
  2    something a person can put right, told in one sentence
  130  interrupted by Ctrl-C"""

Examples = Sequence[tuple[str, str]]


def epilog(examples: Examples, printed: str = "") -> str:
    """What stands below the options: examples (what for, command), what --json prints, codes."""
    told = "\n".join(f"  # {what}\n  {command}" for what, command in examples)
    json = f"with --json:\n{printed}\n\n" if printed else ""
    return f"examples:\n{told}\n\n{json}{EXIT_CODES}"


class Help(argparse.RawDescriptionHelpFormatter):
    """Keeps examples as they are written, and names every default that an option does not."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if not action.option_strings or (action.nargs == 0 and action.const is None):
            return text
        if "(default:" in text or action.default == argparse.SUPPRESS:
            return text
        default = "off" if action.nargs == 0 else "%(default)s"
        return f"{text} (default: {default})"


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one sentence, and which says what was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Refuse in one sentence, exit code 2."""
        self.exit(2, f"usher: {message}; {self.prog} --help tells what can be asked.\n")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        choices = list(map(str, action.choices or ()))
        if choices and str(value) not in choices:
            near = meant(str(value), choices)
            raise argparse.ArgumentError(
                action, f"there is no {value!r}{near}, only {', '.join(choices)}"
            )


def add_command(commands: Any, name: str, text: str, examples: Examples, printed: str) -> Parser:
    """Add a command; `printed` is what --json prints."""
    added: Parser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".",
        epilog=epilog(examples, printed), formatter_class=Help,
    )  # fmt: skip
    return added


def version() -> str:
    """The project's version and the code's revision."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"usher {project['version']} (code {code_version()})"


class Version(argparse.Action):
    """Prints the version; it is looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *given: object) -> NoReturn:
        """Print it and end."""
        print(version())
        parser.exit()

"""Manual pages in roff, from the parsers of the commands.  Pure."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping

_ENVIRONMENT = {
    "PODHOST_INSTANCE": "the instance when --instance is not given",
    "KUBECONFIG": "kubeconfig files for --context, separated by colons",
    "NO_COLOR": "set: no colours",
    "PODHOST_DATA_ROOT, PODHOST_RUN_ROOT": "directories in place of those below",
}
_FILES = {
    "/var/lib/podhost/INSTANCE/": "objects, certificates, volumes and logs of an instance",
    "/var/lib/podhost/_images/": "images, shared by all instances",
    "/run/podhost/INSTANCE/podhost.sock": "the daemon's socket; its group is podhost",
    "~/.kube/podhost-INSTANCE": "what podhost kubeconfig writes",
}
_SECTION_NAMES = {"exit codes": "EXIT STATUS", "exit code": "EXIT STATUS"}
_HEADING = re.compile(r"[a-z][a-z ]*:")


def build_command_page(name: str, summary: str, parser: argparse.ArgumentParser, version: str) -> str:
    """``podhost-NAME.1``."""
    lines = [
        *_title(f"podhost-{name}", version),
        *_name(f"podhost-{name}", summary),
        ".SH SYNOPSIS",
        *_usage(parser, f"podhost {name}"),
    ]
    before, sections = split_epilog(parser.epilog or "")
    lines += [".SH DESCRIPTION", escape(f"{summary[:1].upper()}{summary[1:]}.")]
    for paragraph in before:
        lines += [".PP", escape(paragraph)]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            lines += _verbs(action)
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if not isinstance(a, argparse._SubParsersAction)]
        shown = [action for action in actions if action.help != argparse.SUPPRESS]
        if shown:
            lines.append(f".SH {_group_title(group.title or '')}")
            lines += [line for action in shown for line in _action(parser, action)]
    for heading, body in sections:
        lines += [f".SH {_SECTION_NAMES.get(heading, heading.upper())}", *_verbatim(body)]
    lines += [".SH SEE ALSO", *_references(["podhost"])]
    return "\n".join(lines) + "\n"


def build_overview_page(commands: Mapping[str, str], parser: argparse.ArgumentParser, version: str) -> str:
    """``podhost.1``; ``parser`` has the global flags."""
    lines = [
        *_title("podhost", version),
        *_name("podhost", "run Kubernetes Pods on this machine, straight from their manifests"),
        ".SH SYNOPSIS",
        rf"\fBpodhost\fR [{escape('--instance')} \fINAME\fR] [{escape('--context')} \fINAME\fR]"
        rf" [{escape('-n')} \fINAMESPACE\fR] \fICOMMAND\fR ...",
        ".SH DESCRIPTION",
        "podhost runs Pods as containers of this machine, behind the API of Kubernetes: kubectl, helm and client",
        "libraries work unchanged. One daemon an instance serves the API; containers outlive it.",
        ".SH COMMANDS",
    ]
    for name, summary in commands.items():
        lines += [".TP", rf"\fBpodhost-{escape(name)}\fR(1)", escape(summary)]
    lines.append(".SH GLOBAL FLAGS")
    for action in parser._actions:
        lines += _action(parser, action)
    for heading, entries in (("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        lines.append(f".SH {heading}")
        for name, text in entries.items():
            lines += [".TP", rf"\fB{escape(name)}\fR", escape(text)]
    lines += [".SH EXIT STATUS", "0: done. 1: it failed, and stderr says why. 2: wrong usage. 130: interrupted."]
    lines += ["Commands with more codes say so on their own pages.", ".SH SEE ALSO"]
    lines += _references([f"podhost-{name}" for name in commands])
    return "\n".join(lines) + "\n"


def split_epilog(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """(paragraphs before the first heading, [(heading, its lines)]).

    A heading is a line such as ``examples:``; what follows it on further lines belongs to it.
    """
    paragraphs: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.splitlines()
        if lines and _HEADING.fullmatch(lines[0].strip()) and not lines[0].startswith(" "):
            sections.append((lines[0].strip(" :"), lines[1:]))
        elif sections and lines:
            sections[-1][1].extend(["", *lines])
        elif lines:
            paragraphs.append(" ".join(line.strip() for line in lines))
    return paragraphs, [(heading, "\n".join(lines)) for heading, lines in sections]


def escape(text: str) -> str:
    """Text that roff prints as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\n".join("\\&" + line if line.startswith(".") else line for line in escaped.splitlines())


def _title(page: str, version: str) -> list[str]:
    return [f'.TH "{escape(page.upper())}" 1 "" "podhost {version}" "podhost"', ".nh", ".ad l"]


def _name(page: str, summary: str) -> list[str]:
    return [".SH NAME", rf"{escape(page)} \- {escape(summary)}"]


def _usage(parser: argparse.ArgumentParser, program: str) -> list[str]:
    """The usage without the global flags, which have a section of their own."""
    if parser.usage:
        return [escape(parser.usage).replace(escape(program), rf"\fB{escape(program)}\fR", 1)]
    positionals = [action for action in parser._actions if not action.option_strings]
    words = [_positional_word(parser, action) for action in positionals if action.help != argparse.SUPPRESS]
    return [rf"\fB{escape(program)}\fR [\fIflags\fR] " + " ".join(words)]


def _positional_word(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    shown = formatter._format_args(action, formatter._get_default_metavar_for_positional(action))
    return rf"\fI{escape(shown)}\fR"


def _group_title(title: str) -> str:
    return {"positional arguments": "ARGUMENTS", "options": "FLAGS"}.get(title, title.upper())


def _action(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    formatter = parser._get_formatter()
    if action.option_strings:
        head = ", ".join(rf"\fB{escape(flag)}\fR" for flag in action.option_strings)
        if action.nargs != 0:
            value = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
            head += rf" \fI{escape(value)}\fR"
    else:
        head = _positional_word(parser, action)
    yield ".TP"
    yield head
    yield escape(formatter._expand_help(action)) if action.help else "\\&"


def _verbs(action: argparse._SubParsersAction[argparse.ArgumentParser]) -> Iterator[str]:
    summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
    yield ".SH VERBS"
    for name, parser in action.choices.items():
        arguments = [each for each in parser._actions if each.dest != "help" and each.help != argparse.SUPPRESS]
        words = [_positional_word(parser, each) for each in arguments if not each.option_strings]
        yield f'.SS "{" ".join([escape(name), *words])}"'
        yield escape(summaries.get(name, ""))
        for each in arguments:
            if each.option_strings or each.help:
                yield from _action(parser, each)


def _verbatim(text: str) -> list[str]:
    return [".nf", ".RS 2", escape(_dedent(text)), ".RE", ".fi"]


def _dedent(text: str) -> str:
    import textwrap

    return textwrap.dedent(text).strip("\n")


def _references(pages: list[str]) -> list[str]:
    return [", ".join(rf"\fB{escape(page)}\fR(1)" for page in pages)]

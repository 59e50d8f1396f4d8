"""The offers as programs that shells read: text alone, so that completing starts no Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import shorten

from lightrft_apps.commands.completing.offers import Offer, offers

SHORT = 100
"""Letters of a flag's documentation that a shell shows beside it."""


def script(shell: str) -> str:
    """The completion of `lightrft` for bash, zsh or fish."""
    return SCRIPTS[shell](offers())


def _tables(known: Mapping[str, Offer]) -> str:
    """Two functions in the language bash and zsh share: the words and flags of a command, and a flag's values."""
    words, values = list[str](), list[str]()
    for command, offer in known.items():
        words.append(f"    {command}) echo '{' '.join([*offer.words, *offer.flags])}' ;;")
        for flag, option in offer.flags.items():
            if option.values:
                values.append(f"    '{command} {flag}') echo '{' '.join(option.values)}' ;;")
    return "\n".join(
        [
            "_lightrft_words() {",
            '  case "$1" in',
            *words,
            f"    *) echo '{' '.join(known)} --help' ;;",
            "  esac",
            "}",
            "_lightrft_values() {",
            '  case "$1 $2" in',
            *_merged(values),
            "  esac",
            "}",
        ]
    )


def _merged(cases: list[str]) -> list[str]:
    """Cases that answer alike in one."""
    by_answer: dict[str, list[str]] = {}
    for case in cases:
        pattern, _, answer = case.strip().partition(") ")
        by_answer.setdefault(answer, []).append(pattern)
    return [f"    {'|'.join(patterns)}) {answer}" for answer, patterns in by_answer.items()]


_COMMAND = """\
_lightrft_command() {
  local word found=
  for word in "$@"; do
    case " $(_lightrft_words) " in
      *" $word "*) found=$word; [ "$word" = launch ] || break ;;
    esac
  done
  echo "$found"
}"""
"""Which of the words so far is the command: behind `launch`, the one that is launched."""

_BASH = """\
_lightrft() {
  local current=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD-1]} command values
  if [ "$current" = "=" ]; then current=; elif [ "$flag" = "=" ]; then flag=${COMP_WORDS[COMP_CWORD-2]}; fi
  command=$(_lightrft_command "${COMP_WORDS[@]:1:COMP_CWORD-1}")
  values=$(_lightrft_values "$command" "$flag")
  if [ -n "$values" ] && [[ $current != -* ]]; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
  elif [[ $flag == --* && $current != -* ]]; then
    COMPREPLY=()
  else
    COMPREPLY=($(compgen -W "$(_lightrft_words "$command")" -- "$current"))
  fi
}
complete -o default -F _lightrft lightrft"""
"""Where it replies nothing, bash offers files: for flags that take other values, and words that are no flags."""

_ZSH = """\
_lightrft() {
  emulate -L zsh
  local current=$words[CURRENT] flag=$words[CURRENT-1] command values
  command=$(_lightrft_command "${(@)words[2,CURRENT-1]}")
  values=$(_lightrft_values "$command" "$flag")
  if [[ $flag == --* && $current != -* ]]; then
    if [[ -n $values ]]; then compadd -- ${=values}; else _files; fi
  else
    values=$(_lightrft_words "$command")
    compadd -- ${=values} || _files
  fi
}
compdef _lightrft lightrft"""


def _bash(known: Mapping[str, Offer]) -> str:
    return f"{_tables(known)}\n{_COMMAND}\n{_BASH}\n"


def _zsh(known: Mapping[str, Offer]) -> str:
    return f"#compdef lightrft\n{_tables(known)}\n{_COMMAND}\n{_ZSH}\n"


def _fish(known: Mapping[str, Offer]) -> str:
    """Each flag with its documentation; where several commands have it alike, in one line."""
    lines = ["complete -c lightrft -e"]
    for command, offer in known.items():
        at_first = f"complete -c lightrft -f -n __fish_use_subcommand -a {command}"
        lines.append(f"{at_first} -d {_quoted(offer.about)}")
        if offer.words:
            here = f"-n '__fish_seen_subcommand_from {command}'"
            lines.append(f"complete -c lightrft -f {here} -a {_quoted(' '.join(offer.words))}")
    commands_of: dict[str, list[str]] = {}
    for command, offer in known.items():
        for flag, option in offer.flags.items():
            about = _quoted(shorten(option.about, SHORT, placeholder=" ..."))
            values = f" -xa {_quoted(' '.join(option.values))}" if option.values else " -r"
            takes = values if option.takes_value else ""
            commands_of.setdefault(f"-l {flag.removeprefix('--')}{takes} -d {about}", []).append(command)
    for end, commands in commands_of.items():
        lines.append(f"complete -c lightrft -n '__fish_seen_subcommand_from {' '.join(commands)}' {end}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """For fish: in single quotes, where only a backslash and a quote mean something."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS: dict[str, Callable[[Mapping[str, Offer]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}

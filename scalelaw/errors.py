"""The one error a user can cause: bad input, with its place and its mend."""


class UserError(ValueError):
    """Bad input: a file, a spec, a column, a number or a flag.

    Every entry of `messages` is one line that names the place and the mend. The command line prints them without a
    traceback and exits with code 2.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages: tuple[str, ...] = messages


def nearest(word: str, choices: list[str]) -> str:
    """Returns `; did you mean 'x'?` for the closest of `choices`, or an empty string when none is close."""
    import difflib

    lowered = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"; did you mean {lowered[found[0]]!r}?" if found else ""

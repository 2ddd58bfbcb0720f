"""The one exception whose message is meant for the person at the keyboard."""


class UsageError(Exception):
    """Wrong input: a file, a value or a key that the user can put right.

    The message names what is wrong, its value and the remedy. `train.py` and `eval.py` print it without
    a stack trace; everything else that is raised is a bug and keeps its trace.
    """

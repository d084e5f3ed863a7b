"""What threads must not do at the same moment: look at a struct for the first time."""

import msgspec


def make_ready(*types: type[msgspec.Struct]) -> None:
    """To be called where a module is loaded, for the structs that `msgspec.convert` makes in it.

    msgspec 0.22 reads a struct's annotations when it makes the first one. A second thread that comes in the middle
    of that finds half of them, and the process dies (SIGSEGV).
    """
    for each in types:
        msgspec.json.Decoder(each)

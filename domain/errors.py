"""The errors of the service: one small tree, and every error carries data."""


class CashbackError(Exception):
    """Base of every error that we raise ourselves."""


class Unavailable(CashbackError):
    """A server that is needed can't be reached, or can't be used as it is: to try again later may help."""


class BadInstant(CashbackError, ValueError):
    """A text isn't an RFC 3339 date-time with at most nine fractional digits."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{why}: {text!r}")
        self.text = text
        self.why = why


class BadAmount(CashbackError, ValueError):
    """A number can't be money or a quantity: too many digits to be exact."""


class UnknownCurrency(CashbackError, ValueError):
    """ISO 4217 has no such code for money that is paid with."""

    def __init__(self, code: str) -> None:
        super().__init__(f"{code!r} is no currency code of ISO 4217")
        self.code = code


class BadSetting(CashbackError):
    """A setting, or a word of the command line, can't be used. The message names it, what it got and what it
    wants."""

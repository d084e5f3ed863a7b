"""What must be true of any page, however one came to it."""

from typing import TYPE_CHECKING, Any, Final

from sandbox.servers.browser import Browser

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

PHONE: Final["ViewportSize"] = {"width": 360, "height": 740}
DESK: Final["ViewportSize"] = {"width": 1180, "height": 760}
IN_THE_DARK: Final = "color-contrast"
"""The rule that the colours can break; the rest of a page is the same in the dark."""
_SERIOUS: Final = {"serious", "critical"}
_FAULTS: Final = """
(rules) => axe
  .run({exclude: [["tbody tr:nth-child(n+6)"]]}, {resultTypes: ["violations"], ...(rules ? {runOnly: rules} : {})})
  .then((found) => [found.violations, found.passes.length])
"""
_OVERFLOW: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def serious_faults(page: "Page", browser_parts: Browser, *, only: str | None = None) -> list[Any]:
    """As axe-core finds them, by one rule or all; of a long table, in its first rows. Its script is brought in by
    the test, past the page's policy."""
    page.evaluate(browser_parts.axe.read_text("utf-8"))
    violations, passes = page.evaluate(_FAULTS, only and [only])
    assert passes > 0, "it looked at something"
    return [
        (each["id"], [node["html"] for node in each["nodes"]]) for each in violations if each["impact"] in _SERIOUS
    ]


def overflow_px(page: "Page") -> int:
    """How much wider it is than its window."""
    return int(page.evaluate(_OVERFLOW))

"""Draws the pictures of docs/explanation/. `python -m scripts.pictures`; a test compares."""

import sys
from pathlib import Path
from typing import Final

from scripts.drawing import Picture

BATCH: Final = 3
FOLDER: Final = Path(__file__).parent.parent / "docs" / "explanation"


def overtaking() -> Picture:
    """An UPDATED before its CREATED: called straight away, and through the service."""
    picture = Picture("An UPDATED that overtakes its CREATED", 760, 470)
    picture.words(145, 24, "called straight away", "title")
    topic, straight, read, stream, third = 60, 220, 375, 510, 690
    picture.words(555, 24, "through this service", "title")
    columns = ((topic, 80), (straight, 110), (read, 80), (stream, 140), (third, 110))
    names = ("topic", "third party", "topic", "the order's stream", "third party")
    for (x, width), name in zip(columns, names, strict=True):
        picture.box((x, 58), (width, 30), name)
        picture.lifeline(x, 73, 440 if x >= read else 270)
    picture.parts.append('<line class="lifeline" x1="315" y1="15" x2="315" y2="450"/>')

    picture.arrow((topic, 120), (straight, 120), words="UPDATED → PUT")
    picture.box((straight - 5, 150), (150, 30), "404: unknown order", "bad")
    picture.arrow((topic, 215), (straight, 215), words="CREATED → POST")
    picture.box((straight - 5, 245), (150, 30), "201: takes 6", "good")
    picture.words(145, 320, "The buyer is paid 6 instead of 12,\nor somebody mends it by hand.", "small")

    picture.arrow((read, 120), (stream, 120), words="UPDATED, 12")
    picture.box((stream, 150), (140, 44), "1  held:\nno CREATED yet", "wait")
    picture.words(third - 8, 150, "hears nothing", "small", "end")
    picture.arrow((read, 215), (stream, 215), words="CREATED, 6")
    picture.box((stream, 250), (140, 30), "2  created, 6", "good")
    picture.box((stream, 295), (140, 44), "3  updated, 12\n(was held as 1)", "good")
    picture.arrow((stream + 70, 250), (third, 250), words="POST, 6", at=(632, 240))
    picture.arrow((stream + 70, 295), (third, 295), words="PUT, 12", at=(632, 285))
    picture.arrow((read, 370), (stream, 370), words="COMPLETED")
    picture.box((stream, 400), (140, 30), "4  completed, 12", "good")
    picture.arrow((stream + 70, 400), (third, 400), words="complete, 12", at=(632, 390))
    return picture


def growth() -> Picture:
    """One order on two partitions, and what tells which message came first."""
    picture = Picture("Partitions are added in the middle of an order's life", 760, 430)
    picture.words(20, 24, "three partitions", "title", "start")
    picture.words(330, 24, "then twelve: the order's key goes to another one", "title", "start")
    for number, y in ((1, 62), (8, 122)):
        picture.words(20, y, f"partition {number}", "small", "start")
        picture.parts.append(f'<line class="lifeline" x1="95" y1="{y}" x2="740" y2="{y}"/>')
    picture.parts.append('<line class="lifeline" x1="315" y1="10" x2="315" y2="150"/>')
    picture.box((150, 62), (100, 30), "CREATED 1")
    picture.box((262, 62), (100, 30), "UPDATED 2")
    picture.box((420, 122), (110, 30), "UPDATED 3")
    picture.box((560, 122), (120, 30), "COMPLETED 4")
    picture.words(
        20, 168, "Partition 8 has no lag, partition 1 has: UPDATED 3 and COMPLETED 4 are read first.", "", "start"
    )

    picture.box((195, 215), (350, 30), "the publisher stamps sequence: 1, 2, 3, 4", "good")
    picture.arrow((195, 230), (195, 262))
    picture.box(
        (195, 290),
        (350, 52),
        "3 and 4 are held until 1 and 2 have come.\nThe same calls as without growth. No doubt.",
        "good",
    )

    picture.box((570, 215), (340, 30), "no stamps: held until the CREATED, then by date", "plain")
    picture.arrow((490, 230), (490, 262), words="further apart\nthan clocks err", at=(432, 247))
    picture.arrow((660, 230), (660, 262), words="closer", at=(690, 247))
    picture.box((475, 290), (160, 52), "the dates decide:\nno doubt", "good")
    picture.box((660, 290), (170, 52), "a guess by the dates,\nand a doubt", "wait")
    picture.arrow((660, 316), (660, 348))
    picture.box((660, 372), (170, 44), "a person looks:\nuncertain_order, late", "wait")
    picture.words(
        195, 372, "Within one partition the order of publishing\nis certain, whatever the clocks say.", "small"
    )
    return picture


def transaction() -> Picture:
    """What intake writes at once."""
    picture = Picture("One batch, one transaction", 760, 380)
    for number, y in enumerate((70, 110, 150)):
        picture.words(20, y, f"partition {number}", "small", "start")
        for place in range(5):
            picture.box(
                (110 + place * 30, y), (24, 24), str(place + 7), "plain" if place in range(BATCH) else "faint"
            )
    picture.words(140, 30, "Kafka", "title")
    picture.words(140, 192, "a batch: 7, 8, 9 of each", "small")
    picture.arrow((262, 110), (318, 110))
    picture.box((375, 110), (110, 60), "decode\ndecide\n(no I/O)")
    picture.arrow((431, 110), (485, 110))
    picture.box((612, 128), (254, 200), "", "good")
    picture.words(612, 48, "one transaction in PostgreSQL", "title")
    picture.box((612, 80), (220, 34), "events of all orders")
    picture.box((612, 125), (220, 34), "messages that can't be read")
    picture.box((612, 180), (220, 48), "positions 7 → 10,\nonly if they still are 7")

    picture.box((130, 290), (220, 100), "", "faint")
    picture.words(130, 290, "it dies before the commit\n\nnothing is there: whoever is\nnext reads 7, 8, 9 again")
    picture.box((380, 290), (220, 100), "", "faint")
    picture.words(380, 290, "it dies after the commit\n\nall is there: whoever is next\ngoes on with 10")
    picture.box((630, 290), (220, 100), "", "faint")
    picture.words(
        630,
        290,
        "it was thrown out of the group\nand doesn't know\n\nthe positions aren't 7 any more:\nit writes nothing",
    )
    picture.words(
        380, 362, "Kafka's committed offsets come afterwards, for lag monitors. Nobody reads them.", "small"
    )
    return picture


def call() -> Picture:
    """The life of a call."""
    picture = Picture("A call: claimed, sent, in doubt, looked up", 760, 560)
    picture.box((110, 45), (180, 44), "due\nkey and body are fixed")
    picture.arrow((110, 67), (110, 103))
    picture.box((110, 130), (180, 54), "claimed\n“about to send” is written\nbefore anything is sent")
    picture.arrow((110, 157), (110, 198))
    picture.box((110, 225), (180, 54), "sent\nwith Idempotency-Key")

    answers = (
        (75, "2xx", "delivered: the next call may go", "good"),
        (135, "408, 425, 429, 503, no connection", "surely not done: again, later", "wait"),
        (195, "any other 4xx", "refused: the order is parked", "bad"),
        (255, "401, 403", "nobody's order is to blame:\nall calls are held", "wait"),
    )
    for y, answer, what, tone in answers:
        picture.arrow((200, 225), (245, y), (475, y), words=answer, at=(358, y - 10))
        picture.box((612, y), (272, 44), what, tone)  # type: ignore[arg-type]  # one of the tones

    picture.arrow(
        (110, 252),
        (110, 318),
        words="no answer, 500, 502, 504, in_flight,\nor we died after the claim",
        at=(228, 288),
    )
    picture.box((110, 345), (180, 54), "in doubt\nperhaps carried out", "wait")
    picture.arrow((200, 345), (300, 345), words="")
    picture.box((390, 345), (180, 54), "may the third party\nhave forgotten the key?")
    picture.arrow((480, 345), (575, 345), words="no", at=(528, 335))
    picture.box((662, 345), (172, 54), "sent again, same key:\nit's the same call", "good")
    picture.arrow((390, 372), (390, 408), words="yes", at=(410, 390))
    picture.box((390, 430), (180, 44), "look the order up\nGET /v1/cashbacks/…")
    picture.arrow((300, 430), (110, 430), (110, 488), words="it was done", at=(205, 420))
    picture.arrow((390, 452), (390, 488), words="it surely wasn't", at=(445, 470))
    picture.arrow((480, 430), (662, 430), (662, 488), words="can't be told", at=(572, 420))
    picture.box((110, 512), (180, 44), "delivered", "good")
    picture.box((390, 512), (200, 44), "sent again, same key", "good")
    picture.box((662, 512), (172, 44), "parked: a person\nlooks", "bad")
    return picture


def once() -> Picture:
    """Which step is held by what."""
    picture = Picture("From the topic to the third party: what holds each step", 760, 250)
    for x, name in ((75, "topic"), (265, "event store"), (465, "ledger of calls"), (680, "third party")):
        picture.box((x, 60), (130, 44), name)
    picture.arrow((140, 60), (200, 60), words="intake")
    picture.arrow((330, 60), (400, 60), words="projection")
    picture.arrow((530, 60), (615, 60), words="dispatcher")
    picture.box(
        (170, 150), (200, 76), "one transaction with\nthe positions; repeats are\nknown by identity, digest", "good"
    )
    picture.box(
        (382, 150),
        (200, 76),
        "one transaction with\nthe projection's position;\none create, one end an order",
        "good",
    )
    picture.box(
        (628, 150),
        (240, 76),
        "a network: at least once, in\norder, one at a time, always\nwith the same key",
        "wait",
    )
    picture.words(276, 218, "exactly once: held by us", "title")
    picture.words(628, 218, "once, if they honour the key", "title")
    picture.parts.append('<line class="lifeline" x1="495" y1="100" x2="495" y2="235"/>')
    return picture


def files() -> dict[Path, str]:
    """What stands in which file."""
    return {FOLDER / f"{draw.__name__}.svg": draw().svg() for draw in (overtaking, growth, transaction, call, once)}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text, "utf-8")
        sys.stdout.write(f"docs/explanation/{path.name}: written\n")

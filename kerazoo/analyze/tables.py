"""Tables for the terminal, as HTML, CSV and pandas frame."""
import csv
import dataclasses
import html as escaping
import io
import math
import pathlib
from collections.abc import Callable

from kerazoo.words import amount

WIDTH = 160  # characters, of a wide terminal
SHORTEST = 24  # of the first column, before it is cut


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table: its title, and the text of a row's cell."""

    title: str
    cell: Callable
    left: bool = False


def size(count):
    """Bytes in words: "3.06 MB"."""
    return amount(count, "B", digits=3)


def grid(columns, rows):
    """The columns that say something, and the cells of each row in them."""
    cells = [[column.cell(row) for column in columns] for row in rows]
    shown = [i for i, _ in enumerate(columns) if any(line[i] for line in cells)]
    return [columns[i] for i in shown], [[line[i] for i in shown] for line in cells]


def text(columns, rows, below):
    """A table of at most `WIDTH` characters where its first column can be cut so far, and the lines below it."""
    columns, cells = grid(columns, rows)
    cells = [[column.title for column in columns], *cells]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    gap = "  " if sum(widths) + 2 * len(widths) <= WIDTH else " "
    spare = WIDTH - sum(widths) - len(gap) * (len(widths) - 1)
    if spare < 0:
        widths[0] = max(widths[0] + spare, min(SHORTEST, widths[0]))
        cells = [[cut(line[0], widths[0]), *line[1:]] for line in cells]
    lines = [
        gap.join(
            cell.ljust(width) if column.left else cell.rjust(width)
            for column, cell, width in zip(columns, line, widths)
        ).rstrip()
        for line in cells
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:], rule, *below])


def cut(name, width):
    """The name with its middle left out, where it is too long: both ends of it tell layers apart."""
    if len(name) <= width:
        return name
    front = (width - 1) // 2
    return f"{name[:front]}…{name[len(name) - (width - 1 - front):]}"


def html(columns, rows, below, caption):
    """One `<table>`; what stands below the rows is in its foot."""
    columns, cells = grid(columns, rows)

    def tagged(tag, column, cell):
        side = "left" if column.left else "right"
        return f'<{tag} style="text-align:{side};padding:0.1em 0.5em">{escaping.escape(cell)}</{tag}>'

    lines = [
        '<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">',
        f"<caption>{escaping.escape(caption)}</caption>",
        "<thead><tr>" + "".join(tagged("th", column, column.title) for column in columns) + "</tr></thead>",
        "<tbody>",
        *("<tr>" + "".join(map(lambda column, cell: tagged("td", column, cell), columns, line)) + "</tr>"
          for line in cells),
        "</tbody>", "<tfoot>",
        *(f'<tr><td colspan="{len(columns)}" style="text-align:left;padding:0.1em 0.5em">{escaping.escape(line)}'
          "</td></tr>" for line in below),
        "</tfoot>", "</table>",
    ]
    return "\n".join(lines)


def csv_text(records, path=None):
    """Records as CSV, with an empty cell for None and NaN; written to `path`, or returned."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(key for one in records for key in one)), lineterminator="\n")
    writer.writeheader()
    for one in records:
        writer.writerow({
            key: "" if value is None or isinstance(value, float) and math.isnan(value) else value
            for key, value in one.items()
        })
    if path is None:
        return file.getvalue()
    path = pathlib.Path(path).expanduser()
    try:
        path.write_text(file.getvalue(), encoding="utf-8")
    except OSError as error:
        why = error.strerror if path.parent.is_dir() else f"there is no folder {path.parent}"
        raise type(error)(f"The table {path} cannot be written: {why}. Name another file.") from None
    return None


def frame(records):
    """Records as a pandas frame."""
    try:
        import pandas
    except ImportError:
        raise ModuleNotFoundError(
            "to_frame() needs pandas, which is not installed: pip install pandas. to_csv() needs nothing."
        ) from None
    return pandas.DataFrame(records).convert_dtypes()

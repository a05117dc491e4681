"""The records of wit/stage.wit for tests without WASM, with the names that componentize-py gives them. `tests/test_wit.py`
holds them against the interface."""

from dataclasses import make_dataclass


def _record(name, *fields):
    record = make_dataclass(name, fields)
    record.__module__ = __name__
    return record


Field = _record("Field", "name", "data_type", "nullable")
Varlen = _record("Varlen", "offsets", "data")
Dictionary = _record("Dictionary", "codes", "values")
Node = _record("Node", "validity", "values")
Column = _record("Column", "nodes")

Values_None_ = _record("Values_None_")
Values_Bits = _record("Values_Bits", "value")
Values_Int8 = _record("Values_Int8", "value")
Values_Int16 = _record("Values_Int16", "value")
Values_Int32 = _record("Values_Int32", "value")
Values_Int64 = _record("Values_Int64", "value")
Values_Float32 = _record("Values_Float32", "value")
Values_Float64 = _record("Values_Float64", "value")
Values_Fixed = _record("Values_Fixed", "value")
Values_Varlen = _record("Values_Varlen", "value")
Values_Dictionary = _record("Values_Dictionary", "value")
Values_Offsets = _record("Values_Offsets", "value")

About = _record("About", "name", "version", "config_schema")
Table = _record("Table", "name", "key", "columns")
Given = _record("Given", "columns", "tables", "outputs")
Lookup = _record("Lookup", "table", "key", "columns")
Contract = _record("Contract", "reads", "lookups", "writes", "outputs")
Joined = _record("Joined", "found", "columns")
Batch = _record("Batch", "rows", "columns", "lookups")
Reject = _record("Reject", "row", "reason", "detail")
Filtered = _record("Filtered", "reason", "rows")
Patch = _record("Patch", "rows", "columns", "outputs", "rejects", "filtered")
Failure_Retry = _record("Failure_Retry", "value")
Failure_Fatal = _record("Failure_Fatal", "value")
Answer = _record("Answer", "found", "columns")

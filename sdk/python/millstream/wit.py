"""The records of wit/stage.wit: componentize-py's own in a component, the same shapes natively."""

try:
    from wit_world.exports.transform import (
        About, Contract, Failure_Fatal, Failure_Retry, Filtered, Lookup, Patch, Reject,
    )
    from wit_world.imports.columns import (
        Column, Dictionary, Field, Node, Values_Bits, Values_Dictionary, Values_Fixed, Values_Float32, Values_Float64,
        Values_Int8, Values_Int16, Values_Int32, Values_Int64, Values_None_, Values_Offsets, Values_Varlen, Varlen,
    )
except ModuleNotFoundError as error:
    if error.name != "wit_world":
        raise
    from .native_wit import (
        About, Column, Contract, Dictionary, Failure_Fatal, Failure_Retry, Field, Filtered, Lookup, Node, Patch, Reject,
        Values_Bits, Values_Dictionary, Values_Fixed, Values_Float32, Values_Float64, Values_Int8, Values_Int16,
        Values_Int32, Values_Int64, Values_None_, Values_Offsets, Values_Varlen, Varlen,
    )

__all__ = [
    "About", "Column", "Contract", "Dictionary", "Failure_Fatal", "Failure_Retry", "Field", "Filtered", "Lookup", "Node",
    "Patch", "Reject", "Values_Bits", "Values_Dictionary", "Values_Fixed", "Values_Float32", "Values_Float64",
    "Values_Int8", "Values_Int16", "Values_Int32", "Values_Int64", "Values_None_", "Values_Offsets", "Values_Varlen",
    "Varlen",
]

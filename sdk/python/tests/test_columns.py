"""Values go to nodes and back, for every logical type; what does not fit is named."""

import unittest
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

from millstream import dictionary, raw
from millstream import logical, native_wit, read, write

NOON = datetime(2025, 6, 1, 12, 0, 0, 123456, timezone.utc)
ID = UUID("67e55044-10b1-426f-9247-bb680e5fe0c8")


def round_trip(kind, values):
    kind = logical.parse(kind)
    return read.column(kind, write.column(kind, values), len(values))


class Columns(unittest.TestCase):
    def test_values_go_to_nodes_and_back(self):
        for kind, values in [
            ("bool", [True, False] * 5), ("bool?", [True, None, False]), ("int8", [-128, 127]), ("int16?", [None, -32768]),
            ("int32", [2**31 - 1, -2**31]), ("int64?", [-2**63, None, 2**63 - 1]), ("float32", [1.5, -0.25]),
            ("float64?", [1e300, None]), ("decimal(12,2)?", [Decimal("12.50"), None, Decimal("-0.05")]),
            ("decimal(38,0)", [Decimal("9" * 38), Decimal("-1")]), (raw("decimal(12,2)?"), [1250, None, -5]),
            ("utf8?", ["", None, "grüße", "a"]), ("utf8", ["a", "", "bc"]), (dictionary("utf8?"), ["b", None, "a", "b"]),
            ("binary", [b"", b"\x00\xff"]), ("uuid?", [ID, None]), (raw("uuid"), [ID.bytes]),
            ("date?", [date(1969, 12, 31), None, date(9999, 12, 31)]), (raw("date"), [-1, 2**31 - 1]),
            ("timestamp(s)", [NOON.replace(microsecond=0)]), ("timestamp(us)?", [NOON, None]),
            ("timestamp(ns)?", [-1, None, 2**62]), (raw("timestamp(ms)"), [-1, 2**63 - 1]),
            ("list<utf8?>?", [["a", None], None, []]), ("list<list<int8>>", [[[1], []], [], [[2, 3]]]),
            ("struct<sku: utf8, tags: list<utf8>?>?", [{"sku": "a", "tags": None}, None, {"sku": "b", "tags": ["x"]}]),
            ("list<struct<a: int8?>?>", [[{"a": 1}, None, {"a": None}]]), ("int64", []), ("list<utf8>", []),
        ]:
            with self.subTest(kind=str(kind)):
                self.assertEqual(round_trip(kind, values), values)

    def test_instants_are_cut_off_towards_the_past_in_any_zone(self):
        late = datetime(1969, 12, 31, 23, 59, 59, 999999, timezone.utc)
        self.assertEqual(write.column(logical.parse("timestamp(ms)"), [late])[0].values.value, [-1])
        there = NOON.astimezone(timezone(timedelta(hours=5)))
        self.assertEqual(round_trip("timestamp(us)", [there]), [NOON])

    def test_what_a_column_cannot_hold_is_named(self):
        for kind, values, at in [
            ("int8", [1, 128, -129], [1, 2]), ("int64?", [None, 2**63], [1]), ("float32", [1.0, 1e39], [1]),
            ("decimal(4,2)", [Decimal("1.00"), Decimal("1.005"), Decimal("100")], [1, 2]),
            ("decimal(4,2)", [Decimal("NaN"), Decimal("Infinity"), 5], [0, 1]), ("utf8", ["a", "\ud800"], [1]),
            (dictionary("utf8"), ["\ud800"], [0]), ("list<int8>", [[1], [], [2, 300]], [2]),
            ("struct<a: int8>", [{"a": 1}, {"a": 999}], [1]), (raw("timestamp(s)"), [0, 2**63], [1]),
        ]:
            with self.subTest(kind=str(kind)), self.assertRaises(write.Unfit) as caught:
                write.column(logical.parse(kind), values)
            self.assertEqual(caught.exception.at, at, str(kind))

    def test_a_value_of_another_type_is_a_bug(self):
        for kind, value, said in [
            ("int32", "1", "'1' is no int"), ("int32", True, "True is no int"), ("int32", 1.0, "1.0 is no int"),
            ("utf8", b"a", "b'a' is no str"), ("utf8", None, "value 0 is None, but the type is utf8; `utf8?` may be null"),
            ("bool", 1, "1 is no bool"), ("decimal(4,2)", 1.5, "1.5 is no Decimal or int"),
            ("timestamp(ms)", datetime(2025, 1, 1), "without a time zone"), ("date", NOON, "`.date()` makes one"),
            ("list<utf8>", "abc", "'abc' is no list"), ("struct<a: int8>", {"b": 1}, "is no dict of a"),
            ("struct<a: int8>", {}, "value 0 is None"), ("uuid", "67e5", "is no UUID"), (raw("uuid"), b"a", "16 bytes"),
        ]:
            with self.subTest(kind=str(kind)), self.assertRaises(TypeError) as caught:
                write.column(logical.parse(kind), [value])
            self.assertIn(said, str(caught.exception))

    def test_text_is_read_as_a_dictionary_too_and_the_code_of_a_null_means_nothing(self):
        values = native_wit.Dictionary([1, 4_000_000_000, 0], native_wit.Varlen([0, 2, 3], "éa".encode()))
        node = native_wit.Node(b"\x05", native_wit.Values_Dictionary(values))
        self.assertEqual(read.column(logical.parse("utf8?"), [node], 3), ["a", None, "é"])

    def test_what_python_cannot_hold_is_named_by_row(self):
        for kind, nodes, rows in [
            ("date", [native_wit.Node(b"", native_wit.Values_Int32([0, -800_000, 3_000_000]))], [1, 2]),
            ("timestamp(s)", [native_wit.Node(b"", native_wit.Values_Int64([2**62, 0, 0]))], [0]),
            ("list<date>", [native_wit.Node(b"", native_wit.Values_Offsets([0, 1, 1, 3])),
                            native_wit.Node(b"", native_wit.Values_Int32([0, 0, 3_000_000]))], [2]),
        ]:
            with self.subTest(kind=kind), self.assertRaises(read.Unreadable) as caught:
                read.column(logical.parse(kind), nodes, 3)
            self.assertEqual(caught.exception.rows, rows)
            readable = [row not in rows for row in range(3)]
            values = read.column(logical.parse(kind), nodes, 3, readable)
            self.assertEqual([value is None for value in values], [row in rows for row in range(3)])


class Types(unittest.TestCase):
    def test_a_type_has_one_text(self):
        for text, normal in [
            ("utf8 ?", "utf8?"), ("decimal( 12 , 2 )", "decimal(12,2)"), ("timestamp(ns)", "timestamp(ns)"),
            ("struct<sku:utf8,quantity:int32?>", "struct<sku: utf8, quantity: int32?>"), ("list<list<uuid>?>", "list<list<uuid>?>"),
        ]:
            self.assertEqual(str(logical.parse(text)), normal)

    def test_a_text_that_is_no_type_is_refused(self):
        for text, said in [
            ("string", "there is no type `string`"), ("decimal(12)", "',' was expected, not ')'"),
            ("decimal(39,0)", "1 to 38 digits"), ("decimal(2,3)", "no more of them behind the point"),
            ("timestamp(m)", "'s' or 'ms' or 'us' or 'ns' was expected"), ("utf8??", "'?' was not expected"),
            ("list<utf8", "'>' was expected, not its end"), ("", "it ends too early"), ("utf8!", "'!' was not expected"),
            ("decimal(a,1)", "a number was expected"),
        ]:
            with self.assertRaises(ValueError) as caught:
                logical.parse(text)
            self.assertIn(said, str(caught.exception))
        self.assertRaises(TypeError, raw, "utf8")
        self.assertRaises(TypeError, dictionary, "int8")
        self.assertRaises(TypeError, logical.parse, 5)


if __name__ == "__main__":
    unittest.main()

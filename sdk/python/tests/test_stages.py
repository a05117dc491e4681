"""Stages of all kinds, through config, contract and patch."""

import unittest
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, Optional

from millstream import Contract, Fatal, Retry, dictionary, info, logical, lookup, native_wit, raw, route, stage, testing
from millstream import ConfigError, transform
from millstream.config import schema
from millstream.plugin import only_stage


@dataclass
class Rule:
    word: str
    weight: float = 1.0


@dataclass
class Settings:
    bots: list[str]
    rules: dict[str, Rule] = field(default_factory=dict)
    mode: Literal["fast", "slow"] = "fast"
    limit: Optional[int] = None

    def __post_init__(self):
        if self.limit == 0:
            raise ValueError("limit is 0")


@transform(reads={"name": "utf8?"}, writes={"length": "int8?"}, config=Settings)
class Measure:
    def __init__(self, settings):
        self.settings = settings

    def __call__(self, batch):
        for row, name in enumerate(batch["name"]):
            if name in self.settings.bots:
                batch.filter(row, "bot")
            elif name == "":
                batch.reject(row, "no_name", f"row {row}")
        return {"length": [name and len(name) for name in batch["name"]]}


class Transforms(unittest.TestCase):
    def test_rows_are_kept_filtered_and_rejected(self):
        outcome = testing.configure(Measure, {"bots": ["x"]}).process(
            [{"name": "abc"}, {"name": "x"}, {"name": ""}, {}, {"name": "long" * 100}])
        self.assertEqual(outcome.kept, [(0, {"length": 3}), (3, {"length": None})])
        self.assertEqual(outcome.filtered, [(1, "bot")])
        self.assertEqual(outcome.rejects, [(2, "no_name", "row 2"), (4, "out_of_range", "column `length`: 400 as int8?")])

    def test_values_of_kept_rows_alone_will_do(self):
        @transform(reads={"a": "int64"}, writes={"b": "int64"})
        def even(batch):
            halves = []
            for row, a in enumerate(batch["a"]):
                if a % 2:
                    batch.reject(row, "odd", str(a))
                    continue
                halves.append(a // 2)
            return {"b": halves}

        outcome = testing.configure(even).process([{"a": 2}, {"a": 3}, {"a": 6}])
        self.assertEqual(outcome.kept, [(0, {"b": 1}), (2, {"b": 3})])
        self.assertEqual(outcome.rejects, [(1, "odd", "3")])

    def test_one_row_becomes_several(self):
        @transform(reads={"words": "list<utf8>?"}, writes={"word": dictionary("utf8")})
        def explode(batch):
            rows, words = [], []
            for row, these in enumerate(batch["words"]):
                if not these:
                    batch.filter(row, "empty")
                    continue
                rows += [row] * len(these)
                words += these
            batch.keep(rows)
            return {"word": words}

        outcome = testing.configure(explode).process([{"words": ["a", "b"]}, {"words": []}, {}, {"words": ["c"]}])
        self.assertEqual(outcome.kept, [(0, {"word": "a"}), (0, {"word": "b"}), (3, {"word": "c"})])
        self.assertEqual(outcome.filtered, [(1, "empty"), (2, "empty")])

    def test_a_row_that_python_cannot_hold_is_rejected_and_the_stage_sees_the_others(self):
        seen = []

        @transform(reads={"day": "date", "n": "int32"}, writes={"year": "int16"}, lookups={"t": lookup("t", "n", {"x": "utf8"})})
        def year(batch):
            seen.append((batch.rows, batch["n"], batch.lookups["t"]["x"], batch.lookups["t"].found))
            batch.filter(1, "second")
            return {"year": [day.year for day in batch["day"]]}

        configured = testing.configure(year, tables=[testing.Table("t", {"n": "int32"}, {"x": "utf8"}, [{"n": 3, "x": "c"}])])
        days = native_wit.Column([native_wit.Node(b"", native_wit.Values_Int32([3_000_000, 0, 365, 366]))])
        numbers = native_wit.Column([native_wit.Node(b"", native_wit.Values_Int32([1, 2, 3, 4]))])
        answer = configured._tables["t"].answer([[1], [2], [3], [4]], year.__millstream__.contract.lookups["t"].columns)
        patch = configured._configured.process(native_wit.Batch(4, [days, numbers], [answer]))
        outcome = testing.Outcome(4, configured.contract, patch, [])
        self.assertEqual(seen, [(3, [2, 3, 4], [None, "c", None], [False, True, False])])
        self.assertEqual(outcome.kept, [(1, {"year": 1970}), (3, {"year": 1971})])
        self.assertEqual(outcome.rejects[0][:2], (0, "out_of_range"))
        self.assertIn("column `day`: 3000000 as date is outside", outcome.rejects[0][2])
        self.assertEqual(outcome.filtered, [(2, "second")])

    def test_mistakes_are_named(self):
        def said(returned, use=lambda batch: None):
            @transform(reads={"a": "int64"}, writes={"b": "int64"})
            def wrong(batch):
                use(batch)
                return returned

            with self.assertRaises(Exception) as caught:
                testing.configure(wrong).process([{"a": 1}, {"a": 2}, {"a": 3}])
            return str(caught.exception)

        self.assertIn("the stage returned c; it writes b", said({"c": []}))
        self.assertIn("the stage returned nothing; it writes b", said(None))
        self.assertIn("column `b` has 1 values; the batch has 3 rows, of which 3 are kept", said({"b": [1]}))
        self.assertIn("column `b`: 'x' is no int", said({"b": ["x", "x", "x"]}))
        self.assertIn("column `b` is a int, not a list", said({"b": 1}))
        self.assertIn("`c` is not among the columns", said({}, lambda batch: batch["c"]))
        self.assertIn("row 1 is rejected or filtered twice", said({}, lambda b: (b.reject(1, "x"), b.filter(1, "x"))))
        self.assertIn("there is no row 3 in a batch of 3", said({}, lambda batch: batch.reject(3, "x")))
        self.assertIn("row 2 is neither kept", said({"b": [1, 1]}, lambda batch: batch.keep([0, 1])))
        self.assertIn("ascending", said({"b": [1, 1, 1]}, lambda batch: batch.keep([0, 2, 1])))
        self.assertIn("row 1 is kept, but also", said({"b": []}, lambda b: (b.filter(1, "x"), b.keep([0, 1, 2]))))


class Routes(unittest.TestCase):
    def test_rows_go_to_outputs(self):
        @route(reads={"kind": "utf8"}, outputs=["purchases", "views"])
        def sort(batch):
            to = {"purchase": "purchases", "view": "views", "both": ("purchases", "views")}
            for row, kind in enumerate(batch["kind"]):
                if kind not in to:
                    batch.reject(row, "unknown_kind", kind)
            return [to.get(kind) for kind in batch["kind"]]

        kinds = ["view", "tea", "purchase"]
        outcome = testing.configure(sort).process([{"kind": kind} for kind in kinds])
        self.assertEqual(outcome.routed, [(0, "views"), (2, "purchases")])
        self.assertEqual(outcome.rejects, [(1, "unknown_kind", "tea")])
        outcome = testing.configure(sort).process([{"kind": "both"}, {"kind": "view"}])
        self.assertEqual(outcome.routed, [(0, "purchases"), (0, "views"), (1, "views")])

    def test_wrong_outputs_are_named(self):
        for to, said in [("tea", "row 0 goes to `tea`; the stage declares a"), (None, "row 0 goes nowhere"), ((), "nowhere")]:
            @route(reads={}, outputs=["a"])
            def wrong(batch):
                return [to] * batch.rows

            with self.assertRaisesRegex(ValueError, said):
                testing.configure(wrong).process([{}])
        self.assertRaises(TypeError, lambda: route(reads={}, outputs=[]))


class Lookups(unittest.TestCase):
    users = testing.Table("users", {"user_id": "int64"}, {"country": "utf8?", "since": "date"}, [
        {"user_id": 7, "country": "DE", "since": date(2020, 1, 1)}, {"user_id": 8, "since": date(2021, 1, 1)}])

    def test_a_declared_lookup_is_answered_before_the_call(self):
        @transform(reads={}, writes={"country": "utf8?", "since": raw("date?"), "known": "bool"},
                   lookups={"user": lookup("users", key="user_id", columns={"country": "utf8?", "since": raw("date")})})
        def enrich(batch):
            user = batch.lookups["user"]
            return {"country": user["country"], "since": user["since"], "known": user.found}

        users = testing.Table("users", {"user_id": "int64"}, {"country": "utf8?", "since": "date"},
                              [{"user_id": 7, "country": "DE", "since": 18262}, {"user_id": 8, "since": 18628}])
        outcome = testing.configure(enrich, tables=[users]).process([{"user_id": 7}, {"user_id": 9}, {"user_id": 8}])
        self.assertEqual(outcome.rows, [
            {"country": "DE", "since": 18262, "known": True}, {"country": None, "since": None, "known": False},
            {"country": None, "since": 18628, "known": True}])

    def test_computed_keys_are_looked_up_in_one_call(self):
        @transform(reads={"text": "utf8"}, writes={"country": "utf8?"})
        def find(batch):
            info(f"{batch.rows} rows")
            found = batch.get_many("users", [int(text) for text in batch["text"]], ["country", "user_id"])
            return {"country": found["country"]}

        outcome = testing.configure(find, tables=[self.users]).process([{"text": "7"}, {"text": "1"}])
        self.assertEqual(outcome.rows, [{"country": "DE"}, {"country": None}])
        self.assertEqual(outcome.log, [("info", "2 rows")])
        with self.assertRaisesRegex(Fatal, "no table `users`"):
            testing.configure(find).process([{"text": "7"}])

    def test_a_table_that_does_not_fit_is_named(self):
        for declared, said in [
            (lookup("pages", "user_id", {}), "table `pages`, which the test does not set up"),
            (lookup("users", ["a", "b"], {}), "has a key of 1 columns, not 2"),
            (lookup("users", "user_id", {"x": "utf8"}), "has no column `x`"),
            (lookup("users", "user_id", {"country": "utf8"}), "is utf8?, read as utf8"),
        ]:
            stage_ = transform(reads={}, writes={}, lookups={"user": declared})(lambda batch: {})
            with self.assertRaisesRegex(AssertionError, said.replace("?", r"\?")):
                testing.configure(stage_, tables=[self.users])


class Generic(unittest.TestCase):
    def test_a_stage_types_itself_from_what_is_upstream(self):
        @stage(config=dict)
        class Copy:
            def __init__(self, config):
                self.config = config

            def contract(self, given):
                source = self.config["from"]
                if source not in given.columns:
                    raise ConfigError(f"there is no column `{source}`", key="from")
                return Contract(reads={source: given.columns[source]}, writes={"copy": given.columns[source]})

            def __call__(self, batch):
                return {"copy": batch[self.config["from"]]}

        configured = testing.configure(Copy, {"from": "name"}, columns={"name": "utf8?"})
        self.assertEqual(str(configured.contract.writes["copy"]), "utf8?")
        self.assertEqual(configured.process([{"name": "a"}, {}]).rows, [{"copy": "a"}, {"copy": None}])
        with self.assertRaisesRegex(ConfigError, "config key `from`: there is no column `x`"):
            testing.configure(Copy, {"from": "x"})

    def test_a_stage_may_write_and_route(self):
        @stage()
        class Both:
            def contract(self, given):
                return Contract(reads={"n": "int8"}, writes={"m": "int8"}, outputs=given.outputs)

            def __call__(self, batch):
                return {"m": [n + 1 for n in batch["n"]]}, ["odd" if n % 2 else "even" for n in batch["n"]]

        outcome = testing.configure(Both, outputs=["odd", "even"]).process([{"n": 1}, {"n": 127}, {"n": 2}])
        self.assertEqual((outcome.kept, outcome.routed), ([(0, {"m": 2}), (2, {"m": 3})], [(0, "odd"), (2, "even")]))
        self.assertEqual(outcome.rejects[0][:2], (1, "out_of_range"))

    def test_what_is_no_stage_is_named(self):
        with self.assertRaisesRegex(TypeError, "no `contract"):
            stage()(type("Empty", (), {}))
        with self.assertRaisesRegex(TypeError, "is no stage"):
            testing.configure(lambda batch: {})
        with self.assertRaisesRegex(TypeError, "holds 0 stages"):
            only_stage(logical)
        with self.assertRaisesRegex(ValueError, "column `a`: `string`"):
            transform(reads={"a": "string"}, writes={})

    def test_failures_are_the_batchs(self):
        for failure in (Retry, Fatal):
            def fails(batch):
                raise failure("away")

            with self.assertRaisesRegex(failure, "away"):
                testing.configure(transform(reads={}, writes={})(fails)).process([{}])


class Configs(unittest.TestCase):
    def test_a_config_is_typed_and_complete(self):
        full = {"bots": [], "rules": {"a": {"word": "x", "weight": 2}}, "mode": "slow", "limit": None}
        settings = testing.configure(Measure, full)._configured._call.settings
        self.assertEqual(settings, Settings([], {"a": Rule("x", 2.0)}, "slow", None))
        for config, said in [
            ({}, "config key `bots`: is missing"),
            ({"bots": [], "bot": 1}, "config key `bot`: unknown key; known are bots, rules, mode, limit"),
            ({"bots": ["a", 1]}, r"config key `bots\[1\]`: text was expected, not 1"),
            ({"bots": "a"}, 'config key `bots`: a list was expected, not "a"'),
            ({"bots": [], "rules": {"a": {"wort": ""}}}, "config key `rules.a.wort`: unknown key"),
            ({"bots": [], "rules": {"a": {"word": "", "weight": True}}}, "rules.a.weight`: a number was expected, not true"),
            ({"bots": [], "mode": "medium"}, "config key `mode`: 'medium' is none of 'fast', 'slow'"),
            ({"bots": [], "limit": 1.5}, "config key `limit`: a whole number was expected, not 1.5"),
            ({"bots": [], "limit": 0}, "config: limit is 0"),
            ([], "config: a table was expected"),
        ]:
            with self.subTest(config=config), self.assertRaisesRegex(ConfigError, said):
                testing.configure(Measure, config)

    def test_without_a_config_every_key_is_refused(self):
        plain = transform(reads={}, writes={})(lambda batch: {})
        with self.assertRaisesRegex(ConfigError, "config key `a`: unknown key: this stage takes no config"):
            testing.configure(plain, {"a": 1})

    def test_the_schema_says_what_is_taken(self):
        import json

        found = json.loads(schema(Settings))
        self.assertEqual(found["required"], ["bots"])
        self.assertEqual(found["additionalProperties"], False)
        self.assertEqual(found["properties"]["bots"], {"type": "array", "items": {"type": "string"}})
        self.assertEqual(found["properties"]["limit"], {"anyOf": [{"type": "integer"}, {"type": "null"}]})
        self.assertIsNone(schema(None))


if __name__ == "__main__":
    unittest.main()

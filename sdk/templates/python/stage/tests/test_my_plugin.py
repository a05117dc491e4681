import unittest

from millstream import ConfigError, testing
from my_plugin import MyPlugin


class Tests(unittest.TestCase):
    def test_a_text_is_measured_in_characters(self):
        config = {"column": "title", "length": "title_length"}
        stage = testing.configure(MyPlugin, config, columns={"id": "int64", "title": "utf8?"})
        outcome = stage.process([{"title": "grüße"}, {}, {"title": ""}])
        self.assertEqual([row["title_length"] for row in outcome.rows], [5, None, 0])

    def test_a_column_that_is_not_there_is_refused(self):
        with self.assertRaisesRegex(ConfigError, "config key `column`: there is no column `name`"):
            testing.configure(MyPlugin, {"column": "name", "length": "n"}, columns={"title": "utf8"})

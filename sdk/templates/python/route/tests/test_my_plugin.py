import unittest
from decimal import Decimal

from millstream import ConfigError, testing
from my_plugin import MyPlugin


class Tests(unittest.TestCase):
    def test_an_order_goes_by_its_amount(self):
        rows = [{"amount": Decimal(amount)} for amount in ("99.99", "-1.00", "100.00")]
        outcome = testing.configure(MyPlugin, {"large_from": 100}).process(rows)
        self.assertEqual(outcome.routed, [(0, "small"), (2, "large")])
        self.assertEqual(outcome.rejects, [(1, "negative_amount", "-1.00")])

    def test_a_limit_of_nothing_is_refused(self):
        with self.assertRaisesRegex(ConfigError, "config key `large_from`: from 0 on every order would be large"):
            testing.configure(MyPlugin, {"large_from": 0})

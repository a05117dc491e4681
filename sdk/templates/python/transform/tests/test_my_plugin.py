import unittest

from millstream import ConfigError, testing
from my_plugin import MyPlugin


def outcome(email):
    return testing.configure(MyPlugin, {"own_domain": "example.com"}).process([{"email": email}])


class Tests(unittest.TestCase):
    def test_an_address_becomes_lower_case_and_gives_its_domain(self):
        cleaned = {"email": "ada@lovelace.org", "domain": "lovelace.org"}
        self.assertEqual(outcome(" Ada@Lovelace.org ").rows, [cleaned])

    def test_our_own_people_are_left_out(self):
        self.assertEqual(outcome("bob@example.com").filtered, [(0, "own")])

    def test_what_is_no_address_is_rejected(self):
        self.assertEqual(outcome("nobody").rejects, [(0, "bad_email", "nobody")])

    def test_a_domain_with_an_at_sign_is_refused(self):
        with self.assertRaisesRegex(ConfigError, "config key `own_domain`: a domain has no `@`"):
            testing.configure(MyPlugin, {"own_domain": "@example.com"})

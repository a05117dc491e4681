import unittest

from clean_clicks_python import MOST_AGENTS, CleanClicks, Config
from millstream import testing

CONFIG = {"bots": ["bot", "curl/"], "tracking": ["utm_", "gclid"]}


def outcome(url, user_agent="Firefox"):
    return testing.configure(CleanClicks, CONFIG).process([{"url": url, "user_agent": user_agent}])


class Clean(unittest.TestCase):
    def test_an_address_is_taken_apart(self):
        for url, host, path, query in [
            ("https://shop.example/tea/p1", "shop.example", "/tea/p1", None),
            ("http://shop.example", "shop.example", "", None),
            ("https://shop.example?page=2", "shop.example", "", "page=2"),
            ("https://shop.example/a?utm_source=mail&color=red&gclid=x&size=xl", "shop.example", "/a", "color=red&size=xl"),
            ("https://shop.example/a?utm_source=mail", "shop.example", "/a", None),
            ("https://shop.example/a?q=b/c://d", "shop.example", "/a", "q=b/c://d"),
            ("https://shop.example/grüße?&&a=é&", "shop.example", "/grüße", "a=é"),
        ]:
            self.assertEqual(outcome(url).rows, [{"host": host, "path": path, "query": query}], url)

    def test_bots_are_filtered_however_many_agents_there_were(self):
        self.assertEqual(outcome("https://shop.example/", "Googlebot/2.1").filtered, [(0, "bot")])
        stage = CleanClicks(Config(bots=["bot"], tracking=[]))
        for number in range(MOST_AGENTS + 1):
            self.assertFalse(stage.is_bot(f"Agent {number}"))
            self.assertTrue(stage.is_bot("robot"))
        self.assertLessEqual(len(stage.agents), MOST_AGENTS)
        self.assertTrue(stage.is_bot("another bot"))

    def test_an_address_without_a_host_is_rejected(self):
        url = "/tea/p1?utm_source=mail"
        self.assertEqual(outcome(url).rejects, [(0, "bad_url", url)])


if __name__ == "__main__":
    unittest.main()

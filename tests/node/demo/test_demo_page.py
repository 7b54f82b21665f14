"""The page and its drawings."""

from html.parser import HTMLParser

import pytest

from banyan.node.demo.charts import loss_svg, save_loss_png
from banyan.node.demo.page import headline, page, write_page
from banyan.simulations.report.ink import STAND_INS

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Balance(HTMLParser):
    """Raises on a tag that closes what is not open."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.text = []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(text):
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return " ".join(parser.text)


def test_the_page_is_whole_self_contained_and_says_the_verdict(summary, tmp_path):
    write_page(summary, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    words = read(text)
    assert "Five nodes learned more together than any of them alone, and an attacker got nowhere" in words
    assert "outvoted" in words
    for outside in ("<script", "<link", 'src="http', "@import", "url(http"):
        assert outside not in text
    assert "prefers-color-scheme: dark" in text


def test_names_from_the_data_are_escaped(summary):
    assert "<b>&" not in page(summary).split("<body>")[1].replace("<b>&amp;", "")
    assert "&lt;b&gt;&amp;" in page(summary)


def test_the_plot_uses_the_colours_of_the_page(summary):
    drawn = loss_svg(summary)
    assert "var(--good)" in drawn and "var(--bad)" in drawn
    assert not any(stand_in in drawn for stand_in in STAND_INS)
    assert drawn == loss_svg(summary)  # the same summary, the same bytes


@pytest.mark.parametrize(
    "undefended", [[5.0, 5.8, 6.5], [5.0, 90.0, 8000.0], [5.0, None, None], [5.0, 4.0, 3.6]]
)
def test_any_plain_mean_can_be_drawn(summary, undefended, tmp_path):
    summary["curves"]["undefended"] = undefended
    summary["undefended_loss_after"] = undefended[-1]
    read(page(summary))
    save_loss_png(summary, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    if undefended[-1] is None:
        assert "not a number" in loss_svg(summary)


def test_a_run_without_attackers_and_one_that_failed_have_pages_too(summary):
    summary["nodes"].pop()
    summary |= {"attack": None}
    assert headline(summary) == "Five nodes learned more together than any of them alone"
    read(page(summary))
    summary["verdict"] = [{"holds": False, "sentence": "It did not."}]
    assert "does not show" in headline(summary)
    read(page(summary))


def test_refused_and_shut_out_nodes_are_named_with_the_reason(summary):
    attacker = summary["nodes"][-1]["id"]
    summary["quarantined"] = {attacker: "equivocation"}
    for round_ in summary["rounds"]:
        round_["left_out"] = [{"author": attacker, "reason": "equivocation"}]
    words = read(page(summary))
    assert "shut out: equivocation" in words
    assert "signed two different updates" in words

"""The page in a real browser: what its owner sees and does, with a mouse or a keyboard, and what a peer cannot do."""

import pytest

VIEWS = ("ask", "catalog", "tree", "activity")


def heading(page):
    return page.get_by_role("heading", level=1).inner_text()


def say(page, text):
    page.get_by_label("What do you need a model for?").fill(text)
    page.keyboard.press("Enter")


def test_the_link_opens_once_and_leaves_no_ticket_behind(visit, served):
    link = served.link()
    page = visit()
    page.goto(link)  # in a tab that is open already
    page.wait_for_url("**/#/ask")
    assert page.evaluate("document.cookie") == ""  # scripts cannot read it
    page.reload()
    page.get_by_role("log").wait_for()
    page.goto(link)
    page.get_by_role("heading", name="This page is closed").wait_for()
    assert "banyan page" in page.get_by_role("alert").inner_text()


def test_a_conversation_ends_in_a_model_that_is_cloned_and_trained(visit, node):
    page = visit()
    say(page, "help with German tax returns, and I want to train it")
    page.get_by_role("button", name="German", exact=True).click()
    page.get_by_role("button", name="Forget German").click()
    page.get_by_text("Not German").wait_for()
    page.get_by_role("button", name="Take /de/steuern").click()
    page.get_by_text("/de/steuern is here, and this node works on it.").wait_for()
    say(page, "/home/ada/belege.jsonl")
    page.get_by_text("Your files stay on this device.").wait_for()
    assert node.asked == [("clone", "/de/steuern"), ("train", "/de/steuern", "/home/ada/belege.jsonl")]
    assert page.faults == []


def test_what_the_node_cannot_do_from_here_is_a_command_to_type(visit, node):
    node.clones = False
    page = visit("catalog")
    page.get_by_role("button", name="Bring /de/steuern here").click()
    page.get_by_role("dialog").get_by_role("button", name="Bring it here").click()
    page.get_by_text("banyan clone /de/steuern").wait_for()
    page.get_by_role("button", name="How to serve /de/steuern").click()
    page.get_by_text("banyan serve /de/steuern").wait_for()
    assert node.asked == []


def test_nothing_is_brought_here_before_it_is_agreed_to(visit, node):
    page = visit("catalog")
    page.get_by_role("button", name="Bring /de here").click()
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Bring /en/medical here").is_disabled()  # it does not fit
    assert node.asked == []


def test_the_catalog_is_searched_and_filtered(visit):
    page = visit("catalog")
    cards = page.locator("article code")
    page.get_by_text("6 models").wait_for()
    page.get_by_label("Fits this device").check()
    assert cards.all_inner_texts() == ["/de", "/de/steuern", "/en/cooking"]
    page.get_by_label("Language").select_option("German")
    assert cards.all_inner_texts() == ["/de", "/de/steuern"]
    page.get_by_label("Subject").select_option("tax")
    assert cards.all_inner_texts() == ["/de/steuern"]
    for each in ("Language", "Subject"):
        page.get_by_label(each).select_option("")
    page.get_by_label("Size").select_option("to 2 GB of memory")
    assert cards.all_inner_texts() == ["/de/steuern", "/en/cooking"]
    page.get_by_role("searchbox").fill("recipes")
    page.get_by_text("1 model;").wait_for()
    assert cards.all_inner_texts() == ["/en/cooking"]


def test_the_tree_is_walked_with_the_keyboard_alone(visit):
    page = visit("tree")
    here = page.get_by_role("treeitem", name="this device")
    assert (
        here.get_attribute("aria-label") == "/de/steuern, release 7 · 2 members · round 2 of 3, this device"
    )
    assert page.locator("[role=treeitem][tabindex='0']").count() == 1
    assert page.get_by_role("treeitem", name="dormant").get_attribute("data-path") == "/de/recht"
    page.locator("main").focus()
    page.keyboard.press("Tab")
    walk = [
        ("", "/de/steuern"),
        ("ArrowLeft", "/de"),
        ("ArrowLeft", "/"),
        ("ArrowRight", "/de"),
        ("End", "/en/medical/heart_lung"),
    ]
    for key, path in walk:
        if key:
            page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.path") == path
        page.locator("section h2", has_text=path).wait_for()
        assert page.get_by_role("treeitem", selected=True).count() == 1


def test_what_happens_is_shown_as_it_happens(visit, node, served):
    served.call(node.release, 6)
    page = visit("activity")
    page.get_by_role("row", name="/de/steuern@6").wait_for()
    page.get_by_text("step 30 of 80, about 2 min left").wait_for()
    assert page.get_by_role("progressbar", name="Training").get_attribute("value") == "30"
    served.call(node.release, 7, (("12D3KooWThief0000", "too-far"),))
    page.get_by_role("row", name="/de/steuern@7").filter(has_text="too far").wait_for()
    served.call(node.leave_out, "it lies 9 times too far")
    page.get_by_text("it lies 9 times too far").wait_for()
    page.get_by_label("Only what somebody should look at").check()
    assert page.locator(".log li").count() == 1
    page.get_by_text("…ief0000 is shut out").or_(
        page.get_by_text("is shut out: two-updates")
    ).first.wait_for()


def test_after_a_break_the_page_goes_on_where_it_was(visit, node, served):
    page = visit("activity")
    served.call(node.release, 1)
    page.get_by_role("row", name="/de/steuern@1").wait_for()
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate(
        "document.dispatchEvent(new Event('visibilitychange'))"
    )  # out of sight it holds no connection
    served.call(node.release, 2)
    page.evaluate("delete document.hidden")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_role("row", name="/de/steuern@2").wait_for()
    assert page.locator(".log li").count() == 2  # nothing twice, nothing lost


def test_a_peers_name_is_text_wherever_it_stands(visit, node, served):
    served.call(node.leave_out, node.shelf[-1]["title"])
    page = visit()
    say(page, node.shelf[-1]["title"])
    page.locator(".turn.you").wait_for()
    for view in VIEWS:
        page.get_by_role("link", name=view.title(), exact=True).click()
        page.get_by_text("onerror").first.wait_for() if view in (
            "catalog",
            "activity",
        ) else page.wait_for_timeout(50)
        assert page.locator("main img, main script").count() == 0
        assert "taken" not in page.title()
    assert page.faults == []


def test_the_browser_itself_refuses_scripts_and_html_that_are_not_the_pages_own(visit):
    page = visit()
    assert (
        page.evaluate(
            "() => { try { document.body.innerHTML = '<b>x</b>'; return 'set' } catch { return 'refused' } }"
        )
        == "refused"
    )
    violated = page.evaluate("""() => new Promise((resolve) => {
        addEventListener('securitypolicyviolation', (event) => resolve(event.effectiveDirective), { once: true });
        document.body.append(Object.assign(document.createElement('img'), { src: 'http://127.0.0.2/spy.png' }));
    })""")
    assert violated == "img-src"


#: Texts with too little contrast, controls without a name or too small to hit, and whatever is wider than the screen.
AUDIT = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faults = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest('noscript, :disabled') || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgb(element.closest('svg') ? style.fill : style.color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${node.data.trim().slice(0, 30)}`);
  }
  for (const element of document.querySelectorAll('button, input, select, a, summary, progress, [tabindex="0"]')) {
    if (!element.checkVisibility()) continue;
    const label = element.labels?.[0];
    const name = element.ariaLabel || label?.textContent || label?.ariaLabel || element.textContent;
    if (!name.trim()) faults.push(`no name: ${element.outerHTML.slice(0, 60)}`);
    const { width, height } = element.getBoundingClientRect();
    if (Math.min(width, height) < 18 && !element.matches('progress, .skip, p a, li a'))
      faults.push(`small: ${element.outerHTML.slice(0, 60)}`);
  }
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) faults.push(`wider than the screen: ${wide}`);
  if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  if (new Set(ids).size !== ids.length) faults.push('an id twice');
  return faults;
}"""


#: How whatever has the focus shows it.
RING = """() => {
  const focused = document.activeElement;
  const { outlineStyle, stroke } = getComputedStyle(focused.querySelector('.back') ?? focused);
  return outlineStyle + stroke;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_can_be_read_named_and_reached_on_a_narrow_screen(visit, node, served, scheme):
    served.call(node.release, 7)
    served.call(node.leave_out, "far")
    page = visit(color_scheme=scheme, viewport={"width": 320, "height": 640})
    say(page, "help with German tax returns")
    page.get_by_role("button", name="Take /de/steuern").wait_for()
    for view in VIEWS:
        page.get_by_role("link", name=view.title(), exact=True).click()
        page.locator(".card").first.wait_for()
        page.wait_for_timeout(100)
        assert page.evaluate(AUDIT) == [], view
        page.keyboard.press("Tab")
        assert page.evaluate(RING) != "nonenone", view

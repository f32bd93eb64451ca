"""Can it be read? Contrasts as WCAG 2 measures them, from the colours that the browser really uses."""

from playwright.sync_api import Locator

# every visible text below `root` with its contrast, colours composited from the page upwards
CONTRASTS = """root => {
  const parse = colour => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    const scale = colour.startsWith('color(') ? 255 : 1;
    return [r * scale, g * scale, b * scale, a];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
  const background = element => element
    ? over(parse(getComputedStyle(element).backgroundColor), background(element.parentElement)) : [255, 255, 255];
  const light = colour => colour.map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [], walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || element.closest('style, script, svg') || !element.getClientRects().length) continue;
    const below = background(element);
    const levels = [light(over(parse(getComputedStyle(element).color), below)), light(below)].sort((a, b) => b - a);
    found.push([text.slice(0, 40), (levels[0] + 0.05) / (levels[1] + 0.05)]);
  }
  return found;
}"""


def pale(shown: Locator) -> list[tuple[str, float]]:
    """Return the texts whose contrast is under 4.5, the least that WCAG 2 allows for text of this size."""
    contrasts = shown.evaluate_all(f"all => all.flatMap({CONTRASTS})")
    assert contrasts, "nothing to read here"
    return [(text, round(ratio, 2)) for text, ratio in contrasts if ratio < 4.5]

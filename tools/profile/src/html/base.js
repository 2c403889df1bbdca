// What every part uses: making elements, and writing numbers.
// Text from the report gets into the page by `el` and `svg` alone: as text nodes and as values of attributes
// that hold text. Nothing here or elsewhere parses markup.

const failures = [];
function fail(message) {
  failures.push(String(message));
  const notice = document.getElementById("failure");
  notice.textContent = "A chart could not be drawn: " + failures[0];
  notice.hidden = false;
}
window.addEventListener("error", (event) => fail(event.message));
window.addEventListener("unhandledrejection", (event) => fail(event.reason));
document.addEventListener("securitypolicyviolation", (event) => fail("refused by the policy: " + event.violatedDirective));

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children) {
    if (child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}
const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
const byId = (id) => document.getElementById(id);

/// A whole number with a comma at each thousand.
const whole = (number) => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, ",");
/// A number for an axis: 20k, 3M.
function brief(number) {
  for (const [unit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (number >= unit) return String(+(number / unit).toPrecision(3)) + letter;
  }
  return String(+number.toPrecision(3));
}
/// Defects: an estimate, so two digits are enough.
function defects(number) {
  if (number === 0) return "0";
  if (number < 0.01) return "< 0.01";
  if (number < 1) return number.toFixed(2);
  return number < 10 ? number.toFixed(1) : whole(number);
}
/// How many times as much: 0.4, 7.3, 44.
const times = (ratio) => (ratio < 10 ? String(+ratio.toPrecision(2)) : whole(ratio));
/// A share in percent.
function percent(part, all) {
  if (!(all > 0)) return null;
  const share = (100 * part) / all;
  return share > 0 && share < 1 ? "< 1 %" : Math.round(share) + " %";
}
const sum = (numbers) => numbers.reduce((all, number) => all + number, 0);

// Elements of the page. Text goes in as text, never as markup: what a case, a note or a model is called stays inert.
//
// h()         one element with its properties and children
// icon()      a picture beside words, hidden from screen readers
// when()      a moment as <time>, in the reader's own time zone
// focusOn()   moves the focus to what has just come
// announce()  says a sentence to a screen reader

const SVG = "http://www.w3.org/2000/svg";
const SPOKEN = 5;

/**
 * @param {string} tag
 * @param {Object} properties  attributes; "class", "on" ({click: f}), and booleans; null and false are left out
 * @param {...(Node|string|number|null|false|Array)} children
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== false)
      .map(textOrNode),
  );
  return element;
}

function textOrNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

export function icon(name) {
  const picture = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  picture.setAttribute("class", `icon ${name}`);
  picture.setAttribute("aria-hidden", "true");
  picture.setAttribute("focusable", "false");
  use.setAttribute("href", `#icon-${name}`);
  picture.append(use);
  return picture;
}

export function when(iso) {
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return h("span", {}, iso);
  const two = (number) => String(number).padStart(2, "0");
  const date = [moment.getFullYear(), two(moment.getMonth() + 1), two(moment.getDate())].join("-");
  return h("time", { datetime: iso, title: iso }, `${date} ${two(moment.getHours())}:${two(moment.getMinutes())}`);
}

export function focusOn(element) {
  if (!element.matches("a[href], button, input, select, textarea")) element.setAttribute("tabindex", "-1");
  element.focus();
}

export function announce(text) {
  const region = document.getElementById("spoken");
  region.append(h("p", {}, text)); // beside the ones before, which may not have been read out yet
  if (region.children.length > SPOKEN) region.firstChild.remove();
}

// Elements without a framework. Text is always set as text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes and children. `on…` are listeners, `dataset` and `style` are objects (styles go through
 * the CSSOM, which the content security policy allows), `true` is an empty attribute; `null` and `false` are left out.
 */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same in the namespace of SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") style(element, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

/** Strings and numbers as text, nothing for what is not there, lists flattened. */
function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

export function style(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
  return element;
}

export function attributes(element, values) {
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, String(value));
  return element;
}

/** Replaces what is inside. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** Text that is only written when it differs, so that screen readers and selections are left alone. */
export function text(element, value) {
  const next = String(value);
  if (element.textContent !== next) element.textContent = next;
  return element;
}

let counter = 0;

/** An id for `aria-labelledby` and the like. */
export function uid(prefix) {
  counter += 1;
  return `${prefix}-${counter}`;
}

/** Says something to screen readers. */
export function announce(message) {
  text(document.getElementById("announce"), message);
}

export function reducedMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Calls `callback(width, height)` at once and whenever they change; returns what ends it. */
export function onSize(element, callback) {
  let last = "";
  const observer = new ResizeObserver(() => {
    const { clientWidth: width, clientHeight: height } = element;
    if (width > 0 && `${width} ${height}` !== last) {
      last = `${width} ${height}`;
      callback(width, height);
    }
  });
  observer.observe(element);
  return () => observer.disconnect();
}

/** Runs at most once per frame, with the newest arguments. */
export function perFrame(callback) {
  let pending = null;
  return (...args) => {
    const scheduled = pending !== null;
    pending = args;
    if (!scheduled) {
      requestAnimationFrame(() => {
        const now = pending;
        pending = null;
        callback(...now);
      });
    }
  };
}

/** Runs after it was not called for so long. */
export function debounced(callback, milliseconds) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => callback(...args), milliseconds);
  };
}

// Elements by hand: `h("p", { class: "x" }, "text")`. Text is always text, never markup.

export type Child = Node | string | number | null | undefined | false | Child[];
type Props = Record<string, unknown>;

const SVG = "http://www.w3.org/2000/svg";

function fill(el: Element, props: Props, children: Child[]): void {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") {
      el.addEventListener(name.slice(2), value as EventListener);
    } else {
      el.setAttribute(name, value === true ? "" : String(value));
    }
  }
  add(el, children);
}

export function add(el: Element, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(el, child);
    else el.append(child instanceof Node ? child : String(child));
  }
}

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const el = document.createElement(tag);
  fill(el, props, children);
  return el;
}

export function s<K extends keyof SVGElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  const el = document.createElementNS(SVG, tag);
  fill(el, props, children);
  return el;
}

/** Replace what an element holds. */
export function put(el: Element, ...children: Child[]): void {
  el.replaceChildren();
  add(el, children);
}

/** Set text only where it differs, so that a selection or a screen reader is not disturbed. */
export function say(el: Element, text: string): void {
  if (el.textContent !== text) el.textContent = text;
}

/** A table's head; a column without a name (its buttons say what they do) has a plain cell. */
export const headRow = (names: string[]): HTMLElement => h("thead", {}, h("tr", {}, names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {})))));

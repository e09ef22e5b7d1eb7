// Elements by hand: `h("p", { class: "x" }, "text")`. Text is always text, never markup.
//
// `put` replaces what an element holds. `patch` changes only what differs: focus, selection, what is opened and scrolled stay
// where a reader has them. What is patched hears events by `on`, so that a kept element does what the newest telling says.

import morphdom from "morphdom";

export type Child = Node | string | number | null | undefined | false | Child[];
type Props = Record<string, unknown>;

const SVG = "http://www.w3.org/2000/svg";

function fill(el: Element, props: Props, children: Child[]): void {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") {
      on(el, name.slice(2), value as EventListener);
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

const heard = new WeakMap<Element, Map<string, EventListener>>();

/** One listener for a kind of event; the one before it is replaced. */
export function on(el: Element, kind: string, listener: EventListener): void {
  const known = heard.get(el) ?? new Map<string, EventListener>();
  heard.set(el, known);
  if (!known.has(kind)) el.addEventListener(kind, (e) => heard.get(el)?.get(kind)?.(e));
  known.set(kind, listener);
}

/** Make an element hold these children, changing only what differs. Rows are known by `data-key`. */
export function patch(el: Element, ...children: Child[]): void {
  const next = el.cloneNode(false) as Element;
  add(next, children);
  const reselect = selected(el), focused = el.contains(document.activeElement) ? (document.activeElement as HTMLElement) : null;
  morphdom(el, next, {
    childrenOnly: true,
    getNodeKey: (node) => (node instanceof Element ? (node.getAttribute("data-key") ?? node.id) : ""),
    onBeforeElUpdated: (from, to) => {
      for (const [kind, listener] of heard.get(to) ?? []) on(from, kind, listener);
      if (from instanceof HTMLDetailsElement) (to as HTMLDetailsElement).open = from.open;
      // What somebody has typed is theirs.
      return !(from instanceof HTMLInputElement && from.type !== "checkbox");
    },
  });
  reselect?.();
  // A row that came before it moved it, and what is moved loses the focus.
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

/** How to select again what is selected in here, once its text has changed around it. */
function selected(el: Element): (() => void) | null {
  const selection = document.getSelection();
  const { anchorNode, anchorOffset, focusNode, focusOffset } = selection ?? {};
  if (!selection || selection.isCollapsed || !anchorNode || !focusNode || !(el.contains(anchorNode) || el.contains(focusNode))) return null;
  const most = (node: Node): number => (node.nodeType === Node.TEXT_NODE ? (node.nodeValue ?? "").length : node.childNodes.length);
  return () => {
    if (!anchorNode.isConnected || !focusNode.isConnected) return;
    selection.setBaseAndExtent(anchorNode, Math.min(anchorOffset ?? 0, most(anchorNode)), focusNode, Math.min(focusOffset ?? 0, most(focusNode)));
  };
}

/** Set text only where it differs, so that a selection or a screen reader is not disturbed. */
export function say(el: Element, text: string): void {
  if (el.textContent !== text) el.textContent = text;
}

/** A table's head; a column without a name (its buttons say what they do) has a plain cell. */
export const headRow = (names: string[]): HTMLElement => h("thead", {}, h("tr", {}, names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {})))));

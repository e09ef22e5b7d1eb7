// A panel: a title, what it shows and in which unit, and a way to the records behind it.

import { h, type Child } from "./dom";
import { openRecords, type Ask } from "./drawer";

export interface Panel { el: HTMLElement; body: HTMLElement; note: HTMLElement; tools: HTMLElement }

export function panel(name: string, about: string, records: Ask[] | null, cls = "", ...children: Child[]): Panel {
  const note = h("p", { class: "note" }, about);
  const tools = h("div", { class: "tools" });
  const body = h("div", { class: "body" }, children);
  if (records) tools.append(recordsButton(name, records));
  const el = h("section", { class: `panel ${cls}`, "aria-label": name }, h("header", {}, h("div", {}, h("h2", {}, name), note), tools), body);
  return { el, body, note, tools };
}

export function recordsButton(name: string, asks: Ask[] | (() => Ask[])): HTMLButtonElement {
  const button = h("button", { type: "button", class: "quiet", "aria-label": `Records behind ${name}` }, "Records");
  button.addEventListener("click", () => openRecords(name, typeof asks === "function" ? asks() : asks));
  return button;
}

/** A key to colours, in the order in which they are stacked. */
export function legend(items: [string, string][]): HTMLElement {
  return h("ul", { class: "legend" }, items.map(([cls, name]) => h("li", {}, h("i", { class: `dot ${cls}` }), name)));
}

export function tipTable(head: string, rows: [string, string, string][], foot?: string): HTMLElement {
  return h(
    "div",
    { class: "tip" },
    h("b", {}, head),
    h("table", {}, rows.map(([cls, name, value]) => h("tr", {}, h("td", {}, cls ? h("i", { class: `dot ${cls}` }) : null, name), h("td", {}, value)))),
    foot ? h("small", {}, foot) : null,
  );
}

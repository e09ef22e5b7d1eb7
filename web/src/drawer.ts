// The records behind a number: raw, with their permanent reference.

import { get } from "./data";
import { h, put, type Child } from "./dom";
import { age, stamp, words } from "./format";
import { feed } from "./data";
import { fieldsOf, shown, type Stored } from "./recordfields";

export interface Ask { stream: string; name?: string; subject?: string; unit?: string; since?: number; until?: number; seqs?: number[] }
let dialog: HTMLDialogElement | null = null;

export function openRecords(name: string, asks: Ask[]): void {
  dialog?.remove();
  const list = h("div", { class: "records", "aria-live": "polite" });
  const tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "Stream" });
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close" }, "Close");
  dialog = h("dialog", { class: "drawer", "aria-label": `Records behind ${name}` },
    h("header", {}, h("div", {}, h("h2", {}, name), h("p", { class: "note" }, "The records behind it, newest first. Each has a permanent address.")), close),
    tabs, list);
  const box = dialog;
  close.addEventListener("click", () => box.close());
  box.addEventListener("click", (e) => {
    if (e.target === box) box.close();
  });
  box.addEventListener("close", () => box.remove());
  const show = (ask: Ask, button: Element | null): Promise<number> => {
    for (const other of tabs.children) other.setAttribute("aria-selected", String(other === button));
    return fill(list, ask);
  };
  // The first stream that holds something: where no machine is measured, what was entered is not behind an empty list.
  let chosen = false;
  const first = async (): Promise<void> => {
    for (const [i, ask] of asks.entries()) if (chosen || await show(ask, tabs.children[i] ?? null)) return;
    if (asks.length > 1 && !chosen) void show(asks[0]!, tabs.children[0] ?? null);
  };
  if (asks.length > 1) {
    for (const ask of asks) {
      const button = h("button", { type: "button", role: "tab" }, ask.name ?? ask.stream);
      button.addEventListener("click", () => {
        chosen = true;
        void show(ask, button);
      });
      tabs.append(button);
    }
  }
  document.body.append(box);
  box.showModal();
  void first();
}

export type Found = { records: Stored[]; more: boolean; next: string | null };

// Puts the records of a stream into a list, and says how many there are on its first page.
export async function fill(list: HTMLElement, ask: Ask, limit = 60): Promise<number> {
  put(list, h("p", { class: "wait" }, "Reading…"));
  try {
    const found: Found = ask.seqs ? { records: await Promise.all(ask.seqs.map((q) => get<Stored>(`/api/records/${q}`))), more: false, next: null } : await get<Found>(query(ask, limit));
    const items = found.records.map((r, i) => recordItem(r, i === 0));
    if (found.more) put(list, items, further(list, ask, limit, found.next));
    else put(list, items.length ? items : h("p", { class: "wait" }, `No ${ask.stream} records yet.`));
    return items.length;
  } catch (error) {
    put(list, h("p", { class: "bad" }, String((error as Error).message)));
    return 1;
  }
}

// A page of a list says that it is one, and brings the next below it.
function further(list: HTMLElement, ask: Ask, limit: number, next: string | null): HTMLElement {
  const button = h("button", { class: "button", type: "button" }, "There are older ones: show more");
  button.addEventListener("click", () => {
    button.disabled = true;
    get<Found>(`${query(ask, limit)}&after=${next ?? ""}`)
      .then((found) => {
        button.remove();
        list.append(...found.records.map((r) => recordItem(r)));
        if (found.more) list.append(further(list, ask, limit, found.next));
      })
      .catch((error: Error) => {
        button.textContent = error.message;
      });
  });
  return button;
}

export function query(ask: Ask, limit: number): string {
  const q = new URLSearchParams({ stream: ask.stream, limit: String(limit) });
  if (ask.subject) q.set("subject", ask.subject);
  if (ask.unit) q.set("unit", ask.unit);
  if (ask.since) q.set("since", new Date(ask.since * 1000).toISOString());
  if (ask.until) q.set("until", new Date(ask.until * 1000).toISOString());
  return `/api/records?${q}`;
}

export function recordItem(r: Stored, open = false): HTMLElement {
  const detail = h("details", { class: "record", open },
    h("summary", {},
      h("span", { class: "seq" }, `#${r.seq}`), h("b", {}, r.type), h("span", {}, r.subject), kindTag(r.kind),
      h("time", { title: `known ${stamp(r.known_at)}` }, stamp(r.at))),
  );
  const body = (): Child[] => [
    h("dl", { class: "meta" },
      pair("Holds at", stamp(r.at)), pair("Known at", `${stamp(r.known_at)} (${age(feed.now() ? feed.now() - r.known_at : null)})`),
      pair("Source", r.source), pair("Kind", r.kind), pair("Key", r.key)),
    h("dl", { class: "meta own" }, fieldsOf(r).map(([name, value]) => pair(words(name), shown(value)))),
    asWritten(r),
    h("p", {}, h("a", { href: `/records/${r.seq}` }, `Permanent link: /records/${r.seq}`)),
  ];
  const unfold = (): void => {
    if (detail.open && detail.children.length === 1) detail.append(h("div", {}, body()));
  };
  detail.addEventListener("toggle", unfold);
  unfold();
  return detail;
}

/** The record to the letter, folded away. */
export const asWritten = (r: Stored): HTMLElement => h("details", { class: "json" }, h("summary", {}, "JSON"), h("pre", { tabindex: "0" }, JSON.stringify(r.record, null, 2)));

export const kindTag = (kind: string): HTMLElement => h("span", { class: `tag kind-${kind}` }, kind);
const pair = (name: string, value: string): HTMLElement => h("div", {}, h("dt", {}, name), h("dd", {}, value));
